"""A run of the study: the settings that all runs share (``Study``), and those of its method.

Network, pictures, crops, steps, optimizer, discriminator and pixel, perceptual and adversarial loss
are the same in all runs. A run has its own quantizer, and Reg-VQ's contrastive loss or NSVQ's
stages if these are part of its method.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from regvq.networks.autoencoder import NetworkConfig
from regvq.networks.discriminator import DiscriminatorConfig
from regvq.quantizers import LevelsConfig, NSVQConfig
from regvq.tokenizer import TokenizerConfig

from ..config.stages import StagesConfig
from ..config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig

CODES, LARGE = 1024, 16_384
GROUPS = ("main", "large", "fast", "large-fast", "mask", "nsvq", "size", "seeds", "levels")
Group = Literal["main", "large", "fast", "large-fast", "mask", "nsvq", "size", "seeds", "levels"]
EPOCHS = 70  # of NSVQ's paper; a run of any length counts as this many
FASTER = 10.0  # factor on the learning rate of the codes, in the groups "fast" and after it
USES = 2  # mean uses of a code per epoch that make "unused" a meaningful sign of a dead code


@dataclass(frozen=True)
class Study:
    """The settings that every run has. The sizes are our choice: small enough for a CPU."""

    root: Path
    """Folder of photographs, with subfolders train/ and test/."""
    weights: Path | None = None
    """Weights of SqueezeNet (.npz, .safetensors, .pth); None: torchvision's own weights."""
    steps: int = 400
    """Optimizer steps of a run; the discriminator takes part in the second half."""
    batch: int = 16
    """Crops per step."""
    size: int = 64
    """Side of the training crops, in pixels."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the network at each resolution."""
    limit: int | None = None
    """Evaluate on this many test pictures, spread evenly; None: on all."""

    @property
    def tokens(self) -> int:
        """The number of tokens of a training step."""
        side = self.size // NetworkConfig(widths=self.widths).downsampling
        return self.batch * side * side


@dataclass(frozen=True)
class StudyRun:
    """One run: its name, its group, and the settings of its method."""

    name: str
    label: str
    group: Group
    method: str
    """The method's name, the same at every size and seed."""
    quantizer: Any
    contrastive: Literal["pcl", "cl", "none"] = "none"
    staged: bool = False
    seed: int = 0
    codes_rate: float = 1.0
    """Factor on the learning rate, for the codes."""
    note: str = ""
    """A note for the reader: a departure from the paper, or the origin of a setting."""
    kind: Literal["ours", "outside", "combination"] = "ours"
    """A paper's method as implemented here, another project's quantizer, or a combination that no
    paper has."""
    levels: LevelsConfig = field(default_factory=LevelsConfig)
    """Residual and product codes over the quantizer."""

    def config(self, study: Study) -> RunConfig:
        """Return the whole config, for the trainer."""
        quantizer, stages = self.quantizer, None
        epoch = max(1, study.steps // EPOCHS)
        if self.staged:
            stages = StagesConfig(epoch=epoch, earliest=0.5, latest=50 / EPOCHS)
        if isinstance(quantizer, NSVQConfig):
            enough = -(-USES * quantizer.size // study.tokens)
            quantizer = replace(quantizer, epoch=max(epoch, enough))
        return RunConfig(
            recipe=f"study-{self.name}",
            tokenizer=TokenizerConfig(
                NetworkConfig(widths=study.widths), quantizer, levels=self.levels
            ),
            data=DataConfig(
                name="folder", root=study.root, size=study.size, crop=(0.0, 0.6), workers=0
            ),
            features=FeatureConfig("squeezenet", study.weights),
            loss=LossConfig(l2=1.0, perceptual=0.5, adversarial=0.25, contrastive=self.contrastive),
            discriminator=DiscriminatorConfig(width=32),
            stages=stages,
            codes_rate=self.codes_rate,
            steps=study.steps,
            batch=study.batch,
            seed=self.seed,
            log_every=20,
            save_every=study.steps,
        )


@dataclass(frozen=True)
class DownstreamConfig:
    """The prior of the downstream test and its budget: our choice, for minutes on a CPU."""

    width: int = 128
    """Width of the transformer."""
    layers: int = 4
    """Layers of the transformer."""
    heads: int = 4
    """Attention heads."""
    steps: int = 800
    """Optimizer steps."""
    batch: int = 64
    """Crops per step."""
    augmentations: int = 8
    """Random crops of each training photograph."""
    pictures: int = 2000
    """Number of generated pictures, and of the held-out crops that they are compared with."""


def budget(config: RunConfig) -> dict[str, Any]:
    """Return the settings that compared runs must share, as JSON: all except method and seed."""
    data = asdict(config.data)
    loss = asdict(config.loss)
    return {
        "network": {
            **asdict(config.tokenizer.network),
            "widths": list(config.tokenizer.network.widths),
        },
        "data": {key: data[key] for key in ("name", "size", "last_size")}
        | {"crop": list(config.data.crop)},
        "steps": config.steps,
        "batch": config.batch,
        "precision": config.precision,
        "loss": {k: v for k, v in loss.items() if not k.startswith("contrastive")},
        "optimizer": {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config.optimizer).items()
        },
        "discriminator": asdict(config.discriminator),
    }

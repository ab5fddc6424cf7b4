"""What a run is: frozen dataclasses that recipes fill in and flags override."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from regvq.networks.discriminator import DiscriminatorConfig
from regvq.quantizers import RegVQConfig
from regvq.tokenizer import TokenizerConfig

from ..loop.stages import StagesConfig


@dataclass(frozen=True)
class PicturesConfig:
    """The pictures that a run trains on."""

    name: str = "scenes"
    """Data set: scenes (drawn by the code, no files), folder (any folder of pictures), captions
    (pictures with captions.jsonl or .txt files), shards (tar files), or one as it is published:
    imagenet, ade20k, celebamask, cub, coco, camvid, facades, flickr8k."""
    root: Path | None = None
    """The data set's folder, in the layout in which it is published; of a plain folder, train/ and
    val/ or test/ subfolders are used as such if it has them. Of shards also a pattern or an http(s)
    address, as 'https://HOST/train-{000..146}.tar'. A plain folder of pictures does for any."""
    size: int = 64
    """Side of the training crops, in pixels."""
    crop: tuple[float, float] = (0.0, 1.0)
    """Smallest and largest side of a crop, as fractions of the picture's short side."""
    workers: int = 1
    """Processes that load pictures; 0 loads in the training process."""


@dataclass(frozen=True)
class DataConfig(PicturesConfig):
    """The pictures that a tokenizer trains on, the last of them larger if asked."""

    last_size: int | None = None
    """Side of the crops in the last part of the run, with as many fewer of them: GroupNorm then
    sees statistics nearer to those of whole pictures, at the same cost a step. None: no such
    part."""
    last_share: float = 0.2
    """How much of the run the last part is."""


@dataclass(frozen=True)
class FeatureConfig:
    """The pretrained features of the perceptual and the contrastive loss."""

    name: Literal["auto", "squeezenet", "vgg19", "none"] = "auto"
    """auto: SqueezeNet, some 30 times cheaper than the paper's VGG-19; where its weights cannot be
    had, the run says so and goes on without. none: pixels only."""
    weights: Path | None = None
    """Weights file (.npz, .safetensors, .pth); without it torchvision's own are looked for."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms. Reg-VQ names the terms; none of its weights is published."""

    l1: float = 1.0
    """Mean absolute error on [-1, 1]."""
    l2: float = 0.0
    """Mean squared error on [-1, 1]."""
    perceptual: float = 1.0
    """Distance of pretrained features."""
    contrastive: Literal["pcl", "cl", "none"] = "none"
    """Probabilistic contrastive loss (Reg-VQ Eq. 3), the plain one (Eq. 2), or none."""
    contrastive_weight: float = 0.1
    adversarial: float = 0.0
    """Largest weight of the adversarial term, times the adaptive weight; 0 trains no discriminator.
    VQ-GAN: 0.8."""
    adaptive: bool = True
    """Whether VQ-GAN's adaptive weight (Eq. 7) is in; SimVQ and NSVQ go without."""
    discriminator_start: float = 0.5
    """Share of the steps after which the discriminator begins to learn."""
    listen_after: float = 0.05
    """Share of the steps for which the discriminator learns before the decoder listens to it."""
    ramp: float = 0.1
    """Share of the steps over which the adversarial weight rises from 0 to its largest."""

    def __post_init__(self) -> None:
        for name in ("l1", "l2", "perceptual", "contrastive_weight", "adversarial"):
            if getattr(self, name) < 0:
                raise ValueError(f"loss.{name} must be 0 or more, got {getattr(self, name)}")
        if self.l1 == self.l2 == 0:
            raise ValueError("loss.l1 and loss.l2 are both 0: nothing ties pictures to the data")


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW, linear warm-up, cosine to zero or constant."""

    lr: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-4
    """On matrices and kernels only: never on norms, biases or codes."""
    warmup: float = 0.03
    """Share of the steps with a rising learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the learning rate does then."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that a bundle holds."""


@dataclass(frozen=True)
class OptimizerConfig(AdamWConfig):
    """The optimizers of a tokenizer and of its discriminator."""

    discriminator_lr: float = 2e-4
    discriminator_betas: tuple[float, float] = (0.5, 0.9)
    """VQ-GAN's: a discriminator chases a moving target and must not remember for long."""


@dataclass(frozen=True)
class CommonConfig:
    """What every run has: its length, its seed, and how it reports."""

    recipe: Annotated[str, tyro.conf.Suppress] = "custom"
    """The recipe's name; set by the recipe, no flag."""
    steps: int = 6000
    batch: int = 32
    """Pictures a step, on each process."""
    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bfloat16 autocast where the processor or GPU computes in it."""
    out: Path | None = None
    """Run folder; runs/RECIPE if not given. A run that is there already goes on."""
    log_every: int = 20
    """Steps between log lines; the usage window spans 100 steps."""
    save_every: int = 500
    """Steps between checkpoints, sample pictures and bundles."""
    stop_after: int | None = None
    """Stop when this step is reached, as an interruption would; the schedule stays that of
    steps."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**24:  # a step's noise is seeded with 64 bits, 40 for the step
            raise ValueError(f"seed must be from 0 to {2**24 - 1:,}, got {self.seed}")


@dataclass(frozen=True)
class RunConfig(CommonConfig):
    """A tokenizer's run: everything that its result depends on, and how it reports."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    stages: StagesConfig | None = None
    """NSVQ's stages, in which the encoder is frozen at some time; None: one stage."""
    codes_rate: float = 1.0
    """Times the learning rate, for the quantizer's matrices: the codes, or what makes them. Latents
    move by the whole network, a code by its own steps; in short runs it cannot follow at 1."""
    init: Path | None = None
    """Bundle or run folder whose weights a new run begins with; None: random ones. Its network and
    quantizer must be the run's."""
    train_only: Literal["all", "decoder"] = "all"
    """decoder: encoder and codes stay those of init, so that pictures keep their tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        step = self.tokenizer.network.downsampling
        for name in ("size", "last_size"):
            if (side := getattr(self.data, name)) is not None and (side < 1 or side % step):
                raise ValueError(
                    f"data.{name} must be a multiple of {step}, the tokenizer's downsampling, "
                    f"got {side}"
                )
        if not 0 <= self.data.last_share <= 1:
            raise ValueError(f"data.last_share must be in [0, 1], got {self.data.last_share}")
        if not self.codes_rate > 0:
            raise ValueError(f"codes_rate must be above 0, got {self.codes_rate}")
        quantizer = self.tokenizer.quantizer
        if (
            isinstance(quantizer, RegVQConfig)
            and quantizer.prior == "histogram"
            and quantizer.prior_file is None
        ):
            raise ValueError("quantizer.prior histogram needs its file: set quantizer.prior_file")
        if self.train_only not in ("all", "decoder"):
            raise ValueError(f"train_only must be 'all' or 'decoder', got {self.train_only!r}")
        if self.train_only == "decoder":
            if self.init is None:
                raise ValueError("train_only decoder needs the tokenizer that it goes on: set init")
            if self.stages is not None:
                raise ValueError("train_only decoder has no stages: set stages to None")
        if self.features.name == "none" and (
            self.loss.perceptual or self.loss.contrastive != "none"
        ):
            raise ValueError(
                "the perceptual and the contrastive loss need features: choose features.name "
                "squeezenet or vgg19, or set loss.perceptual 0 and loss.contrastive none"
            )

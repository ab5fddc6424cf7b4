"""The runs of the study: what they share, and the one thing in which each differs.

Network, pictures, crops, steps, optimizer, discriminator and pixel, perceptual and adversarial loss
are the same in all of them (``Study``). A run changes the quantizer, adds Reg-VQ's contrastive loss
where that is part of the method, or NSVQ's stages where those are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from regvq.networks.autoencoder import NetworkConfig
from regvq.networks.discriminator import DiscriminatorConfig
from regvq.quantizers import (
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)
from regvq.tokenizer import TokenizerConfig

from ..config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig
from ..loop.stages import StagesConfig
from .external import OutsideSimVQConfig, OutsideVQConfig

CODES, LARGE = 1024, 16_384
GROUPS = ("main", "large", "fast", "large-fast", "long", "mask", "nsvq", "size", "seeds")
Group = Literal[
    "main", "large", "fast", "large-fast", "long", "mask", "nsvq", "size", "seeds"
]  # fmt: skip
EPOCHS = 70  # as many as NSVQ's paper trains; a run of any length counts as so many
FASTER = 10.0  # times the rate for the codes, in the runs that ask what that changes
LONGER = 4  # times the steps of the other runs, in those that ask what more steps change
USES = 2  # mean uses of a code in an epoch, below which "unused" would say little about a code


@dataclass(frozen=True)
class Study:
    """What every run has in common. The sizes are ours: small enough for a CPU."""

    root: Path
    """Folder of photographs with train/ and test/."""
    weights: Path | None = None
    """Weights of SqueezeNet (.npz, .safetensors, .pth); without it torchvision's are looked for."""
    steps: int = 400
    """Optimizer steps of a run; the discriminator takes part in the second half."""
    batch: int = 16
    """Crops a step."""
    size: int = 64
    """Side of the training crops, in pixels."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the network at each resolution."""
    limit: int | None = None
    """Judge on so many test pictures, spread evenly; None: on all."""

    @property
    def tokens(self) -> int:
        """Tokens of a training step."""
        side = self.size // NetworkConfig(widths=self.widths).downsampling
        return self.batch * side * side


@dataclass(frozen=True)
class Run:
    """One run: its name, where it belongs, and what it changes."""

    name: str
    label: str
    group: Group
    method: str
    """Which method it is, the same at every size and seed."""
    quantizer: Any
    contrastive: Literal["pcl", "cl", "none"] = "none"
    staged: bool = False
    seed: int = 0
    longer: int = 1
    """So many times the study's steps."""
    codes_rate: float = 1.0
    """Times the learning rate, for the codes."""
    note: str = ""
    """What a reader must know of it: where it leaves its paper, where it comes from."""
    kind: Literal["ours", "outside", "combination"] = "ours"
    """A paper's method as this project has it, another project's, or what no paper has."""

    def config(self, study: Study) -> RunConfig:
        """The whole config, for the trainer."""
        quantizer, stages = self.quantizer, None
        steps = study.steps * self.longer
        epoch = max(1, steps // EPOCHS)
        if self.staged:
            stages = StagesConfig(epoch=epoch, earliest=0.5, latest=50 / EPOCHS)
        if isinstance(quantizer, NSVQConfig):
            enough = -(-USES * quantizer.size // study.tokens)
            quantizer = replace(quantizer, epoch=max(epoch, enough))
        return RunConfig(
            recipe=f"study-{self.name}",
            tokenizer=TokenizerConfig(NetworkConfig(widths=study.widths), quantizer),
            data=DataConfig(
                name="folder", root=study.root, size=study.size, crop=(0.0, 0.6), workers=0
            ),
            features=FeatureConfig("squeezenet", study.weights),
            loss=LossConfig(l2=1.0, perceptual=0.5, adversarial=0.25, contrastive=self.contrastive),
            discriminator=DiscriminatorConfig(width=32),
            stages=stages,
            codes_rate=self.codes_rate,
            steps=steps,
            batch=study.batch,
            seed=self.seed,
            log_every=20,
            save_every=steps,
        )


@dataclass(frozen=True)
class DownstreamConfig:
    """The prior of the downstream test and its budget: our numbers, for minutes on a CPU."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    steps: int = 800
    """Optimizer steps."""
    batch: int = 64
    """Crops a step."""
    augmentations: int = 8
    """Random crops of each training photograph."""
    pictures: int = 2000
    """Pictures that are generated, and held-out crops that they are compared with."""


@dataclass(frozen=True)
class Sweep:
    """One number that is varied, and the runs at its values."""

    name: str
    title: str
    axis: str
    points: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    """By method: (value, run)."""


def budget(config: RunConfig) -> dict[str, Any]:
    """What two runs that are compared must have in common, as JSON: all but method and seed."""
    data = asdict(config.data)
    loss = asdict(config.loss)
    return {
        "network": {**asdict(config.tokenizer.network), "widths": list(
            config.tokenizer.network.widths
        )},
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
    }  # fmt: skip


PCL = {"contrastive": "pcl"}


def _table(group: Group, size: int, suffix: str, seed: int = 0) -> dict[str, Run]:
    """The methods at one codebook size."""

    def run(method: str, label: str, quantizer: Any, note: str = "", **settings: Any) -> Run:
        name = method + suffix
        return Run(name, label, group, method, quantizer, seed=seed, note=note, **settings)

    levels = {CODES: (8, 5, 5, 5), LARGE: (8, 8, 8, 6, 5)}.get(size)
    runs = [
        run("vqgan", "VQ-GAN", VQConfig(size=size, start="data"), "codes begin on latents"),
        run("vqgan-uniform", "VQ-GAN, uniform start", VQConfig(size=size), "as VQ-GAN's code"),
        run("gumbel", "Gumbel-VQ", GumbelConfig(size=size)),
        run(
            "regvq", "Reg-VQ (prior, mask, PCL)", RegVQConfig(size=size), "posterior by distance",
            **PCL,
        ),
        run(
            "regvq-head", "Reg-VQ, linear head", RegVQConfig(size=size, posterior="head"),
            "the paper's posterior", **PCL,
        ),
        run(
            "regvq-plain", "Reg-VQ: no regularizer",
            RegVQConfig(size=size, mask_ratio=0.0, prior_weight=0.0),
            "soft straight-through codes alone",
        ),
        run("regvq-prior", "Reg-VQ: prior only", RegVQConfig(size=size, mask_ratio=0.0)),
        run("regvq-mask", "Reg-VQ: prior, mask", RegVQConfig(size=size)),
        run(
            "regvq-cl", "Reg-VQ: prior, mask, CL", RegVQConfig(size=size), contrastive="cl"
        ),
        run("simvq", "SimVQ", SimVQConfig(size=size)),
        run(
            "simvq-rotation", "SimVQ + rotation trick",
            SimVQConfig(size=size, estimator="rotation"), "as vector-quantize-pytorch has it",
            kind="combination",
        ),
        run("nsvq", "NSVQ", NSVQConfig(size=size), "three stages", staged=True),
        run("lfq", "LFQ", LFQConfig(size=size)),
        run("ibq", "IBQ", IBQConfig(size=size)),
        run(
            "outside-vq", "VectorQuantize of lucidrains", OutsideVQConfig(size=size),
            "vector-quantize-pytorch's defaults",
            kind="outside",
        ),
        run(
            "outside-vq-restart", "VectorQuantize, k-means, restart",
            OutsideVQConfig(size=size, kmeans=True, restart=2.0),
            "vector-quantize-pytorch with its own remedies",
            kind="outside",
        ),
        run(
            "outside-simvq", "SimVQ of lucidrains", OutsideSimVQConfig(size=size),
            "vector-quantize-pytorch's defaults, rotation trick included",
            kind="outside",
        ),
        run(
            "nsvq-mask", "NSVQ + Reg-VQ's mask", NSVQConfig(size=size, mask_ratio=0.4),
            kind="combination", staged=True,
        ),
        run(
            "regvq-stages", "Reg-VQ + NSVQ's stages", RegVQConfig(size=size),
            kind="combination", staged=True, **PCL,
        ),
        run(
            "vq-restart", "VQ-GAN + rotation trick + restart",
            VQConfig(size=size, start="data", estimator="rotation", restart_below=0.01),
            kind="combination",
        ),
    ]  # fmt: skip
    if levels:
        runs.append(run("fsq", "FSQ", FSQConfig(levels=levels), f"levels {levels}"))
    return {r.method: r for r in runs}


def _variant(
    base: Run, group: Group, name: str, label: str, staged: bool | None = None, **settings: Any
) -> Run:
    """``base`` with other settings of its quantizer, or without its stages."""
    return replace(
        base,
        name=name,
        label=label,
        group=group,
        quantizer=replace(base.quantizer, **settings),
        staged=base.staged if staged is None else staged,
        note="",
    )


_MAIN = (
    "vqgan", "regvq", "simvq", "nsvq", "fsq", "gumbel", "regvq-prior", "regvq-mask", "regvq-cl",
    "vqgan-uniform", "outside-vq", "outside-simvq", "nsvq-mask", "simvq-rotation", "regvq-head",
    "regvq-stages", "regvq-plain", "lfq", "ibq", "vq-restart", "outside-vq-restart",
)  # fmt: skip
_LARGE = (
    "vqgan", "simvq", "nsvq", "regvq", "vqgan-uniform", "fsq", "outside-vq", "outside-simvq",
    "nsvq-mask", "lfq", "vq-restart", "gumbel",
)  # fmt: skip
_FAST = (
    "vqgan", "regvq", "nsvq", "simvq", "regvq-prior", "regvq-mask", "regvq-cl", "nsvq-mask",
    "gumbel", "regvq-plain",
)  # fmt: skip
_LONG = ("vqgan", "regvq", "simvq", "nsvq")
_FIRST = 12, 8  # runs of the main and of the large table that come before all others
_KEY = ("vqgan", "regvq", "simvq", "nsvq")


def all_runs() -> dict[str, Run]:
    """Every run of the study by name, in the order in which they are best made."""
    main, large = _table("main", CODES, ""), _table("large", LARGE, "-16k")
    first = [main[method] for method in _MAIN[: _FIRST[0]]]
    first += [large[method] for method in _LARGE[: _FIRST[1]]] + [main["nsvq-mask"]]
    fast = {
        method: replace(main[method], name=f"{method}-fast", group="fast", codes_rate=FASTER)
        for method in _FAST
    }
    first += fast.values()
    first += [
        replace(large[method], name=f"{method}-16k-fast", group="large-fast", codes_rate=FASTER)
        for method in _KEY
    ]
    first += [
        replace(fast[method], name=f"{method}-long", group="long", longer=LONGER)
        for method in _LONG
    ]
    nsvq = fast["nsvq"]
    runs = [_variant(nsvq, "nsvq", f"nsvq-tau{t:g}", f"NSVQ, τ {t:g}", tau=t) for t in (3, 10)]
    runs += [_variant(nsvq, "nsvq", "nsvq-joint", "NSVQ, first stage only", staged=False)]
    runs += [main["regvq-head"]]
    for ratio in (0, 20, 60, 80, 100):
        label = f"Reg-VQ, mask {ratio} %"
        name = f"regvq-mask{ratio}"
        runs.append(_variant(fast["regvq"], "mask", name, label, mask_ratio=ratio / 100))
    for alpha in (0.0, 0.01, 0.5):
        name = f"nsvq-alpha{alpha:g}"
        runs.append(_variant(nsvq, "nsvq", name, f"NSVQ, α {alpha:g}", alpha=alpha))
    runs += [_variant(nsvq, "nsvq", f"nsvq-tau{t:g}", f"NSVQ, τ {t:g}", tau=t) for t in (1, 0.1)]
    middle = _table("size", 4096, "-4k")
    runs += [middle[method] for method in _KEY]
    for seed in (1, 2):
        again = _table("seeds", CODES, f"-seed{seed}", seed)
        runs += [replace(again[method], codes_rate=FASTER) for method in _KEY]
    rest = [main[method] for method in _MAIN] + [large[method] for method in _LARGE]
    return {run.name: run for run in (*first, *runs, *rest)}


def sweeps() -> list[Sweep]:
    """The sweeps as lists of runs; the papers' values are runs of the fast table, because with
    faster codes the methods come nearer to what they are after long training."""
    ratios = [(r / 100, "regvq-fast" if r == 40 else f"regvq-mask{r}") for r in range(0, 101, 20)]
    alphas = [(a, "nsvq-fast" if a == 0.1 else f"nsvq-alpha{a:g}") for a in (0.0, 0.01, 0.1, 0.5)]
    taus = [(t, "nsvq-fast" if t == 0.35 else f"nsvq-tau{t:g}") for t in (0.1, 0.35, 1, 3, 10)]
    lengths = {m: [(1, f"{m}-fast"), (LONGER, f"{m}-long")] for m in _LONG}
    sizes = {m: [(1024, m), (4096, f"{m}-4k"), (LARGE, f"{m}-16k")] for m in _KEY}
    return [
        Sweep("steps", "Length of the training", "times the steps", lengths),
        Sweep("mask", "Reg-VQ's mask ratio", "share of positions drawn", {"regvq": ratios}),
        Sweep("alpha", "NSVQ's α, the weight of its dense loss", "α", {"nsvq": alphas}),
        Sweep("tau", "NSVQ's τ, the temperature of its dense loss", "τ", {"nsvq": taus}),
        Sweep("size", "Codebook size", "codes", sizes),
    ]


def chosen(runs: dict[str, Run], groups: Iterable[str], only: Iterable[str]) -> list[Run]:
    """The runs of ``groups`` (none: of all) that are named in ``only`` (none: every one)."""
    groups, only = tuple(groups), tuple(only)
    if unknown := [name for name in only if name not in runs]:
        raise ValueError(f"--only {unknown[0]} is no run; the runs are: {', '.join(runs)}")
    return [
        run
        for run in runs.values()
        if (not groups or run.group in groups) and (not only or run.name in only)
    ]

"""The catalog of the study: its runs, their order, and its sweeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from regvq.quantizers import (
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LevelsConfig,
    LFQConfig,
    NSVQConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)

from .external import ExternalSimVQConfig, ExternalVQConfig
from .runs import CODES, FASTER, LARGE, Group, StudyRun

PCL = {"contrastive": "pcl"}


@dataclass(frozen=True)
class Sweep:
    """One setting that is varied, and the runs at its values."""

    name: str
    title: str
    axis: str
    points: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    """Pairs (value, name of a run) by method."""


def _table(group: Group, size: int, suffix: str, seed: int = 0) -> dict[str, StudyRun]:
    """Return the runs of all methods at one codebook size, by method."""

    def run(method: str, label: str, quantizer: Any, note: str = "", **settings: Any) -> StudyRun:
        name = method + suffix
        return StudyRun(name, label, group, method, quantizer, seed=seed, note=note, **settings)

    levels = {CODES: (8, 5, 5, 5), LARGE: (8, 8, 8, 6, 5)}.get(size)
    runs = [
        run(
            "vqgan", "VQ-GAN", VQConfig(size=size, start="data"), "codes initialized to latents"
        ),
        run("vqgan-uniform", "VQ-GAN, uniform start", VQConfig(size=size), "as in VQ-GAN's code"),
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
            "soft straight-through codes only",
        ),
        run("regvq-prior", "Reg-VQ: prior only", RegVQConfig(size=size, mask_ratio=0.0)),
        run("regvq-mask", "Reg-VQ: prior, mask", RegVQConfig(size=size)),
        run(
            "regvq-cl", "Reg-VQ: prior, mask, CL", RegVQConfig(size=size), contrastive="cl"
        ),
        run("simvq", "SimVQ", SimVQConfig(size=size)),
        run(
            "simvq-rotation", "SimVQ + rotation trick",
            SimVQConfig(size=size, estimator="rotation"), "as in vector-quantize-pytorch",
            kind="combination",
        ),
        run("nsvq", "NSVQ", NSVQConfig(size=size), "three stages", staged=True),
        run("lfq", "LFQ", LFQConfig(size=size)),
        run("ibq", "IBQ", IBQConfig(size=size)),
        run("bsq", "BSQ", BSQConfig(size=size)),
        run("diveq", "DiVeQ", DiVeQConfig(size=size)),
        run(
            "outside-vq", "VectorQuantize of lucidrains", ExternalVQConfig(size=size),
            "vector-quantize-pytorch's defaults",
            kind="outside",
        ),
        run(
            "outside-simvq", "SimVQ of lucidrains", ExternalSimVQConfig(size=size),
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
        runs.append(run("fsp", "FSP", FSPConfig(levels=levels), f"levels {levels}"))
    return {r.method: r for r in runs}


def _equal_bits() -> list[StudyRun]:
    """Return runs of 16 bits per position: one codebook, residual and product codes.

    All are VQ-GAN's quantizer with faster codes; with 65,536 codes, a position has one id.
    """

    def run(name: str, label: str, size: int, **levels: int) -> StudyRun:
        quantizer, note = VQConfig(size=size, start="data"), "codes initialized to latents"
        return StudyRun(
            name, label, "levels", name, quantizer, note=note, codes_rate=FASTER,
            levels=LevelsConfig(**levels),
        )  # fmt: skip

    return [
        run("vq-65k", "VQ, 1 x 65,536 codes", 65_536),
        run("vq-residual2", "Residual VQ, 2 x 256 codes", 256, residual=2),
        run("vq-product2", "Product VQ, 2 x 256 codes", 256, groups=2),
        run("vq-residual4", "Residual VQ, 4 x 16 codes", 16, residual=4),
        run("vq-product4", "Product VQ, 4 x 16 codes", 16, groups=4),
    ]


def _variant(
    base: StudyRun, group: Group, name: str, label: str, staged: bool | None = None, **settings: Any
) -> StudyRun:
    """Return ``base`` with other settings of its quantizer, or without its stages."""
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
    "regvq-stages", "regvq-plain", "lfq", "ibq", "vq-restart", "bsq", "diveq", "fsp",
)  # fmt: skip
_LARGE = (
    "vqgan", "simvq", "nsvq", "regvq", "vqgan-uniform", "fsq", "outside-vq", "outside-simvq",
    "gumbel",
)  # fmt: skip
_FAST = (
    "vqgan", "regvq", "nsvq", "simvq", "regvq-prior", "regvq-mask", "regvq-cl", "nsvq-mask",
    "gumbel", "regvq-plain",
)  # fmt: skip
_FIRST = 12, 8  # runs of the groups main and large that come before all others
_KEY = ("vqgan", "regvq", "simvq", "nsvq")


def all_runs() -> dict[str, StudyRun]:
    """Return every run of the study by name, the most informative ones first."""
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
    nsvq = fast["nsvq"]
    runs = [_variant(nsvq, "nsvq", "nsvq-tau3", "NSVQ, τ 3", tau=3)]
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
    for seed in (1, 2):
        again = _table("seeds", LARGE, f"-16k-seed{seed}", seed)
        runs += [replace(again[method], codes_rate=FASTER) for method in _KEY]
    rest = [main[method] for method in _MAIN] + [large[method] for method in _LARGE]
    rest += _equal_bits()
    return {run.name: run for run in (*first, *runs, *rest)}


def sweeps() -> list[Sweep]:
    """Return the sweeps as lists of runs.

    The papers' values are runs of the group "fast": with faster codes the methods come closer to
    their results after long training.
    """
    ratios = [(r / 100, "regvq-fast" if r == 40 else f"regvq-mask{r}") for r in range(0, 101, 20)]
    alphas = [(a, "nsvq-fast" if a == 0.1 else f"nsvq-alpha{a:g}") for a in (0.0, 0.01, 0.1, 0.5)]
    taus = [(t, "nsvq-fast" if t == 0.35 else f"nsvq-tau{t:g}") for t in (0.1, 0.35, 1, 3)]
    sizes = {m: [(1024, m), (4096, f"{m}-4k"), (LARGE, f"{m}-16k")] for m in _KEY}
    return [
        Sweep("mask", "Reg-VQ's mask ratio", "share of positions drawn", {"regvq": ratios}),
        Sweep("alpha", "NSVQ's α, the weight of its dense loss", "α", {"nsvq": alphas}),
        Sweep("tau", "NSVQ's τ, the temperature of its dense loss", "τ", {"nsvq": taus}),
        Sweep("size", "Codebook size", "codes", sizes),
    ]


def chosen(runs: dict[str, StudyRun], groups: Iterable[str], only: Iterable[str]) -> list[StudyRun]:
    """Return the runs of ``groups`` (empty: all) whose names are in ``only`` (empty: all).

    Raises ValueError for an unknown name.
    """
    groups, only = tuple(groups), tuple(only)
    if unknown := [name for name in only if name not in runs]:
        raise ValueError(f"--only {unknown[0]} is not a run; available: {', '.join(runs)}")
    return [
        run
        for run in runs.values()
        if (not groups or run.group in groups) and (not only or run.name in only)
    ]

"""Verdicts of the study on the papers' claims: each follows from all its figures by a rule.

A claim consists of comparisons of runs, all of which are printed. A comparison is *decided* if its
difference is larger than the spread between seeds allows for (``spread.py``). The claim is
*confirmed* if every decided comparison supports it, *not confirmed* if none does, *in part*
otherwise; *undecided* if no comparison is decided (of the series over codebook sizes, if one is
not, and the others support it), and *open* if none is available. The size of an effect is printed
beside the paper's, but does not influence the verdict: the papers' networks are a hundred times
larger and trained a thousand times longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from .spread import Spread, averaged, decided, seeds_of, spread, weight

COLLAPSED = 0.25  # share of codes in use below which a codebook counts as collapsed
FULL = 0.99

Row = dict[str, Any]
Outcome = bool | None
"""The result of a comparison; None: the spread leaves it undecided."""


class Claim(NamedTuple):
    """A paper's claim beside the study's figures."""

    name: str
    claim: str
    paper: str
    ours: str
    verdict: str
    comparisons: int
    """The number of comparisons."""
    decided: int
    """The number of those that the spread decides."""
    distance: bool = False
    """True for a claim on the Fréchet distance of reconstructions."""


class Runs:
    """The runs by name, means over seeds where there are several, and the spread."""

    def __init__(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self.spread: Spread = spread(rows)
        self.rows = averaged(rows)

    def __contains__(self, name: str) -> bool:
        return name in self.rows

    def __getitem__(self, name: str) -> Row:
        return self.rows[name]

    def found(self, names: Iterable[str]) -> list[Row]:
        """Return the rows of those of the runs that are available."""
        return [self.rows[name] for name in names if name in self.rows]

    def pairs(self, a: str, b: str, key: str = "fd") -> list[tuple[Row, Row]]:
        """Return the rows of two methods that differ in nothing else and have the figure."""
        both = [(self[a + s], self[b + s]) for s in ALL if a + s in self and b + s in self]
        return [pair for pair in both if None not in (pair[0].get(key), pair[1].get(key))]


ALL = ("", "-4k", "-16k", "-fast", "-16k-fast")
"""Ends of the names of runs that differ in the method alone."""


def claims(rows: Iterable[Row]) -> list[Claim]:
    """Return all claims with their verdicts on the rows of ``docs/study/results.json``."""
    runs = Runs(rows)
    return [
        _better(
            runs, "regvq-fid-vqgan", "rFID 23.69 / 28.17 = 0.84 (ADE20K)",
            ("regvq", "Reg-VQ"), ("vqgan", "VQ-GAN with codes initialized to latents"),
        ),
        _better(
            runs, "regvq-fid-vqgan-uniform", "rFID 23.69 / 28.17 = 0.84 (ADE20K)",
            ("regvq", "Reg-VQ"), ("vqgan-uniform", "VQ-GAN with codes initialized as in its code"),
        ),
        _regvq_psnr(runs),
        _regvq_full(runs),
        _ablation(runs),
        _mask(runs),
        _sizes(runs),
        _vanilla(runs),
        _better(
            runs, "nsvq-fid", "rFID 2.10 / 2.39 = 0.88 (ImageNet 128², 65,536 codes)",
            ("nsvq", "NSVQ"), ("simvq", "SimVQ"),
        ),
        _nsvq_full(runs),
        _sensitivity(
            runs, "alpha", "α", 0.1,
            "rFID 14.2, 13.7, 13.7, 13.42, 15.9 at .001, .01, .05, .1, .5 (CelebA)",
        ),
        _sensitivity(
            runs, "tau", "τ", 0.35,
            "rFID 14.45, 13.5, 13.42, 13.55, 14.05 at .1, .3, .35, .5, 1 (CelebA)",
        ),
        _downstream(
            runs, ("regvq", "Reg-VQ"), ("vqgan", "VQ-GAN"),
            "FID 34.47 / 38.53 = 0.89 (ADE20K, autoregressive)",
        ),
        _downstream(
            runs, ("nsvq", "NSVQ"), ("simvq", "SimVQ"),
            "FID 16.62 / 20.11 = 0.83 (ImageNet, latent diffusion)",
        ),
        _external(runs),
    ]  # fmt: skip


def claims_elsewhere(rows: Iterable[Row], key: str = "alexnet_fd") -> list[Claim]:
    """Return the claims on the Fréchet distance of reconstructions, on other features: figure
    ``key``. Rows without it are left out, and so are claims without any comparison."""
    judged = [row | {"fd": row[key]} for row in rows if row.get(key) is not None]
    return [claim for claim in claims(judged) if claim.distance and claim.comparisons]


def _claim(
    name: str, claim: str, paper: str, ours: str, outcomes: list[Outcome], *, distance: bool = False
) -> Claim:
    clear = sum(outcome is not None for outcome in outcomes)
    ours = ours or "not run yet"
    return Claim(name, claim, paper, ours, verdict(outcomes), len(outcomes), clear, distance)


def verdict(outcomes: list[Outcome]) -> str:
    """Return the verdict on the outcomes of all comparisons of a claim."""
    if not outcomes:
        return "open"
    clear = [outcome for outcome in outcomes if outcome is not None]
    if not clear:
        return "undecided"
    if all(clear):
        return "confirmed"
    return "in part" if any(clear) else "not confirmed"


def described(row: Row, key: str = "fd") -> str:
    """Return a run's size, its differences from the first table, and its seeds, if several."""
    seeds = seeds_of(key, row)
    words = [f"{row['codes']:,} codes"]
    words += ["faster codes"] if row["codes_rate"] != 1 else []
    return ", ".join(words + ([f"{seeds} seeds"] if seeds > 1 else []))


def _listed(pairs: list[tuple[Row, Row]], show: Callable[[Row, Row], str], key: str = "fd") -> str:
    return "; ".join(f"{show(a, b)} ({described(a, key)})" for a, b in pairs)


def _ratio(a: float, b: float, outcome: Outcome) -> str:
    ratio = f"{a / b:.2f}"
    return f"{shown(a)} / {shown(b)} = " + (ratio if outcome is None else f"**{ratio}**")


def shown(distance: float) -> str:
    """Return a Fréchet distance, whose size depends on the features, with three digits or more."""
    return f"{distance:.0f}" if distance >= 100 else f"{distance:.1f}"


def _better(
    runs: Runs, name: str, paper: str, method: tuple[str, str], rival: tuple[str, str]
) -> Claim:
    (a, label), (b, other) = method, rival
    pairs, lower = runs.pairs(a, b), runs.spread.lower
    return _claim(
        name,
        f"{label} reconstructs with a lower Fréchet distance than {other}",
        paper,
        _listed(pairs, lambda a, b: _ratio(a["fd"], b["fd"], lower("fd", a, b))),
        [lower("fd", a, b) for a, b in pairs],
        distance=True,
    )


def _regvq_psnr(runs: Runs) -> Claim:
    pairs = runs.pairs("regvq", "vqgan")
    return _claim(
        "regvq-psnr",
        "… and loses a little PSNR in return",
        "18.44 − 18.89 = −0.45 dB",
        _listed(pairs, lambda a, b: f"{a['psnr'] - b['psnr']:+.2f} dB".replace("-", "−"), "psnr"),
        [runs.spread.lower("psnr", a, b) for a, b in pairs],
    )


def _usage(row: Row) -> str:
    return f"{row['utilization']:.1%} of {described(row, 'utilization').replace(' codes', '', 1)}"


def _regvq_full(runs: Runs) -> Claim:
    found = runs.found(f"regvq{end}" for end in ALL)
    return _claim(
        "regvq-usage",
        "Reg-VQ uses every code",
        "all codes valid and used (Fig. 1)",
        "; ".join(_usage(row) for row in found),
        [row["utilization"] >= FULL for row in found],
    )


def _ablation(runs: Runs) -> Claim:
    names = ("VQ-GAN", "+ prior", "+ mask", "+ CL", "PCL for CL")
    told: list[str] = []
    falls: list[Outcome] = []
    methods = ("vqgan", "regvq-prior", "regvq-mask", "regvq-cl", "regvq")
    for end in ("", "-fast"):
        steps = runs.found(method + end for method in methods)
        if len(steps) < len(methods):
            continue
        listed = ", ".join(f"{n} {shown(row['fd'])}" for n, row in zip(names, steps, strict=True))
        told.append(f"{listed} ({described(steps[1])})")
        falls += [runs.spread.lower("fd", b, a) for a, b in pairwise(steps)]
    claim = "Each part of Reg-VQ lowers the Fréchet distance further"
    paper = "28.17, + prior 25.92, + mask 25.11, + CL 24.21, PCL for CL 23.69"
    return _claim("ablation", claim, paper, "; ".join(told), falls, distance=True)


def _mask(runs: Runs) -> Claim:
    names = {r: "regvq-fast" if r == 40 else f"regvq-mask{r}" for r in range(0, 101, 20)}
    found = {r: runs[name] for r, name in names.items() if name in runs}
    claim = "The more positions are drawn, the lower the PSNR"
    paper = "0–20 % above the paper's choice of 40 %, 60–100 % below it (Fig. 3)"
    told = ", ".join(f"{r} %: {row['psnr']:.2f} dB" for r, row in found.items())
    outcomes: list[Outcome] = []
    if middle := found.pop(40, None):
        for ratio, row in found.items():
            below, above = (middle, row) if ratio < 40 else (row, middle)
            outcomes.append(runs.spread.lower("psnr", below, above))
    return _claim("mask", claim, paper, told, outcomes)


def _sizes(runs: Runs) -> Claim:
    claim = "With more codes Reg-VQ keeps improving, VQ-GAN saturates"
    paper = "curves over 1,024 to 8,192 codes (Fig. 8)"
    ends = [s for s in ("", "-4k", "-16k") if f"regvq{s}" in runs and f"vqgan{s}" in runs]
    if len(ends) < 2:
        return _claim("sizes", claim, paper, "", [], distance=True)
    ours, theirs = ([runs[method + end] for end in ends] for method in ("regvq", "vqgan"))
    told = "; ".join(
        f"{label} " + ", ".join(f"{shown(row['fd'])} ({row['codes']:,})" for row in rows)
        for label, rows in (("Reg-VQ", ours), ("VQ-GAN", theirs))
    )
    outcomes: list[Outcome] = [runs.spread.lower("fd", b, a) for a, b in pairwise(ours)]
    for (a, b), (c, d) in zip(pairwise(ours), pairwise(theirs), strict=True):
        more = (a["fd"] - b["fd"]) - (c["fd"] - d["fd"])  # how much more Reg-VQ gains
        outcomes.append(decided(more, runs.spread.threshold("fd", weight("fd", a, b, c, d))))
    found = _claim("sizes", claim, paper, told, outcomes, distance=True)
    # To keep improving is more than to improve once: no step of the series may be open.
    unclear = found.verdict == "confirmed" and found.decided < found.comparisons
    return found._replace(verdict="undecided") if unclear else found


def _vanilla(runs: Runs) -> Claim:
    found = runs.found(("vqgan-16k", "vqgan-16k-fast", "vqgan-uniform-16k", "vq-65k"))
    told = "; ".join(
        f"{row['label']}: {_usage(row)}, perplexity {row['perplexity']:.0f}" for row in found
    )
    return _claim(
        "collapse",
        "Plain vector quantization collapses in a large codebook",
        "1.4 % of 65,536 codes used",
        told,
        [row["utilization"] < COLLAPSED for row in found],
    )


def _nsvq_full(runs: Runs) -> Claim:
    found = runs.found(f"{method}{end}" for end in ALL for method in ("nsvq", "simvq"))
    return _claim(
        "nsvq-usage",
        "NSVQ and SimVQ use every code",
        "100 % and 100 % of 65,536",
        "; ".join(f"{row['label']} {_usage(row)}" for row in found),
        [row["utilization"] >= FULL for row in found],
    )


def _sensitivity(runs: Runs, key: str, symbol: str, best: float, paper: str) -> Claim:
    names = [n for n in runs.rows if n == "nsvq-fast" or n.startswith(f"nsvq-{key}")]
    found = sorted(runs.found(names), key=lambda row: row["quantizer"][key])
    told = ", ".join(f"{row['quantizer'][key]:g}: {shown(row['fd'])}" for row in found)
    outcomes: list[Outcome] = []
    if "nsvq-fast" in runs:
        chosen = runs["nsvq-fast"]
        outcomes = [runs.spread.lower("fd", chosen, row) for row in found if row is not chosen]
    claim = f"NSVQ is best at {symbol} = {best:g}"
    return _claim(f"nsvq-{key}", claim, paper, told, outcomes, distance=True)


def _downstream(runs: Runs, better: tuple[str, str], other: tuple[str, str], paper: str) -> Claim:
    (method, label), (rival, named), key = better, other, "generation_fd"
    pairs, lower = runs.pairs(method, rival, key), runs.spread.lower
    return _claim(
        f"generation-{method}",
        f"The same prior generates with a lower Fréchet distance from {label}'s tokens than from "
        f"{named}'s",
        paper,
        _listed(pairs, lambda a, b: _ratio(a[key], b[key], lower(key, a, b)), key),
        [lower(key, a, b) for a, b in pairs],
    )


def _external(runs: Runs) -> Claim:
    pairs, lower = runs.pairs("simvq-rotation", "outside-simvq"), runs.spread.lower
    return _claim(
        "outside",
        "With the rotation trick, which vector-quantize-pytorch's SimVQ uses, our SimVQ "
        "reconstructs with a lower Fréchet distance in the same trainer",
        "no paper: a check of this project",
        _listed(pairs, lambda a, b: _ratio(a["fd"], b["fd"], lower("fd", a, b))),
        [lower("fd", a, b) for a, b in pairs],
        distance=True,
    )

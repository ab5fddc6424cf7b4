"""Verdicts of the study on the papers' claims: each follows from figures by a rule.

A claim that one method is better than another is *confirmed* if every comparison of runs supports
it, *not confirmed* if none does, *in part* otherwise, and *open* if no comparison is available. The
size of an effect is printed beside the paper's, but does not influence the verdict: the papers'
networks are a hundred times larger and trained a thousand times longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

COLLAPSED = 0.25  # share of codes in use below which a codebook counts as collapsed
FULL = 0.99

Row = dict[str, Any]


class Claim(NamedTuple):
    """A paper's claim beside the study's figures."""

    name: str
    claim: str
    paper: str
    ours: str
    verdict: str
    comparisons: int
    """The number of comparisons behind the verdict."""


def claims(rows: Iterable[Row]) -> list[Claim]:
    """Return all claims with their verdicts on the rows of ``docs/study/results.json``."""
    by_name = {row["name"]: row for row in rows}
    return [
        _regvq_better(by_name, "vqgan", "VQ-GAN with codes initialized to latents"),
        _regvq_better(by_name, "vqgan-uniform", "VQ-GAN with codes initialized as in its code"),
        _regvq_psnr(by_name),
        _regvq_full(by_name),
        _ablation(by_name),
        _mask(by_name),
        _sizes(by_name),
        _vanilla(by_name),
        _nsvq_better(by_name),
        _nsvq_full(by_name),
        _sensitivity(by_name, "alpha", "α", 0.1),
        _sensitivity(by_name, "tau", "τ", 0.35),
        _downstream(
            by_name,
            ("regvq", "Reg-VQ"),
            ("vqgan", "VQ-GAN"),
            "FID 34.47 / 38.53 = 0.89 (ADE20K, autoregressive)",
        ),
        _downstream(
            by_name,
            ("nsvq", "NSVQ"),
            ("simvq", "SimVQ"),
            "FID 16.62 / 20.11 = 0.83 (ImageNet, latent diffusion)",
        ),
        _external(by_name),
    ]


def _claim(name: str, claim: str, paper: str, ours: str, outcomes: list[bool]) -> Claim:
    return Claim(name, claim, paper, ours, verdict(outcomes), len(outcomes))


def verdict(outcomes: list[bool]) -> str:
    """Return "confirmed" if every comparison holds, "not confirmed" if none does, "in part" if some
    do, and "open" if there is none."""
    if not outcomes:
        return "open"
    if all(outcomes):
        return "confirmed"
    return "in part" if any(outcomes) else "not confirmed"


def _pairs(rows: dict[str, Row], a: str, b: str, suffixes: Iterable[str]) -> list[tuple[Row, Row]]:
    return [(rows[a + s], rows[b + s]) for s in suffixes if a + s in rows and b + s in rows]


SEEDS = ("-fast", "-seed1", "-seed2")  # runs that differ in the seed alone
# Runs of the same suffix differ in the method alone.
ALL = ("", "-4k", "-16k", *SEEDS, "-16k-fast", "-long")


def _listed(pairs: list[tuple[Row, Row]], show: Callable[[Row, Row], str]) -> str:
    if not pairs:
        return "not run yet"
    return "; ".join(f"{show(a, b)} ({_where(a)})" for a, b in pairs)


def _size(row: Row) -> str:
    differences = _differences(row)
    return f"{row['codes']:,}" + (f" ({', '.join(differences)})" if differences else "")


def _where(row: Row) -> str:
    return ", ".join([f"{row['codes']:,} codes", f"seed {row['seed']}", *_differences(row)])


def _differences(row: Row) -> list[str]:
    """Return the differences between a run and those of the first table, except codes and seed."""
    faster = ["faster codes"] if row["codes_rate"] != 1 else []
    return faster + (["longer"] if row["group"] == "long" else [])


def _ratio(a: Row, b: Row) -> str:
    return _ratio_of(a["fd"], b["fd"])


def _ratio_of(a: float, b: float) -> str:
    return f"{a:.0f} / {b:.0f} = **{a / b:.2f}**"


def _regvq_better(rows: dict[str, Row], baseline: str, described: str) -> Claim:
    pairs = _pairs(rows, "regvq", baseline, ALL)
    return _claim(
        f"regvq-fid-{baseline}",
        f"Reg-VQ reconstructs with a lower Fréchet distance than {described}",
        "rFID 23.69 / 28.17 = 0.84 (ADE20K)",
        _listed(pairs, _ratio),
        [a["fd"] < b["fd"] for a, b in pairs],
    )


def _regvq_psnr(rows: dict[str, Row]) -> Claim:
    pairs = _pairs(rows, "regvq", "vqgan", ALL)
    return _claim(
        "regvq-psnr",
        "… and loses a little PSNR in return",
        "18.44 − 18.89 = −0.45 dB",
        _listed(pairs, lambda a, b: f"{a['psnr'] - b['psnr']:+.2f} dB".replace("-", "−")),
        [a["psnr"] < b["psnr"] for a, b in pairs],
    )


def _regvq_full(rows: dict[str, Row]) -> Claim:
    sizes = ("", "-4k", "-16k", "-fast", "-16k-fast", "-long")
    found = [rows[f"regvq{s}"] for s in sizes if f"regvq{s}" in rows]
    return _claim(
        "regvq-usage",
        "Reg-VQ uses every code",
        "all codes valid and used (Fig. 1)",
        "; ".join(f"{r['utilization']:.1%} of {_size(r)}" for r in found) or "not run yet",
        [r["utilization"] >= FULL for r in found],
    )


def _ablation(rows: dict[str, Row]) -> Claim:
    names = ("VQ-GAN", "+ prior", "+ mask", "+ CL", "PCL for CL")
    shown, falls = [], []
    methods = ("vqgan", "regvq-prior", "regvq-mask", "regvq-cl", "regvq")
    for suffix in ("", "-fast"):
        steps = [method + suffix for method in methods]
        if any(name not in rows for name in steps):
            continue
        distances = [rows[name]["fd"] for name in steps]
        listed = ", ".join(f"{n} {d:.0f}" for n, d in zip(names, distances, strict=True))
        shown.append(f"{listed} ({_where(rows[steps[0]])})")
        falls += [b < a for a, b in pairwise(distances)]
    ours = "; ".join(shown) or "not all run yet"
    return _claim("ablation", _ABLATION, _ABLATION_PAPER, ours, falls)


_ABLATION = "Each part of Reg-VQ lowers the Fréchet distance further"
_ABLATION_PAPER = "28.17, + prior 25.92, + mask 25.11, + CL 24.21, PCL for CL 23.69"


def _mask(rows: dict[str, Row]) -> Claim:
    names = {r: "regvq-fast" if r == 40 else f"regvq-mask{r}" for r in range(0, 101, 20)}
    found = {r: rows[name] for r, name in names.items() if name in rows}
    claim = "The more positions are drawn, the lower the PSNR"
    paper = "0–20 % above the paper's choice of 40 %, 60–100 % below it (Fig. 3)"
    shown = ", ".join(f"{r} %: {row['psnr']:.2f} dB" for r, row in found.items())
    if 40 not in found or len(found) < 2:
        return _claim("mask", claim, paper, shown or "not run yet", [])
    middle = found[40]["psnr"]
    right = [(row["psnr"] > middle) == (r < 40) for r, row in found.items() if r != 40]
    return _claim("mask", claim, paper, shown, right)


def _sizes(rows: dict[str, Row]) -> Claim:
    claim = "With more codes Reg-VQ keeps improving, VQ-GAN saturates"
    paper = "curves over 1,024 to 8,192 codes (Fig. 8)"
    sizes = [s for s in ("", "-4k", "-16k") if f"regvq{s}" in rows and f"vqgan{s}" in rows]
    if len(sizes) < 2:
        return _claim("sizes", claim, paper, "not run yet", [])
    gains, shown = {}, []
    for method, label in (("regvq", "Reg-VQ"), ("vqgan", "VQ-GAN")):
        found = [rows[method + s] for s in sizes]
        gains[method] = found[0]["fd"] - found[-1]["fd"]
        curve = ", ".join(f"{r['fd']:.0f} ({r['codes']:,})" for r in found)
        shown.append(f"{label} {curve}")
    outcomes = [gains["regvq"] > 0, gains["regvq"] > gains["vqgan"]]
    return _claim("sizes", claim, paper, "; ".join(shown), outcomes)


def _vanilla(rows: dict[str, Row]) -> Claim:
    names = ("vqgan-16k", "vqgan-uniform-16k", "vqgan-uniform")
    found = [rows[name] for name in names if name in rows]
    shown = "; ".join(
        f"{r['label']}: {r['utilization']:.1%} of {r['codes']:,}, perplexity {r['perplexity']:.0f}"
        for r in found
    )
    return _claim(
        "collapse",
        "Plain vector quantization collapses in a large codebook",
        "1.4 % of 65,536 codes used",
        shown or "not run yet",
        [r["utilization"] < COLLAPSED for r in found if r["codes"] > 1024],
    )


def _nsvq_better(rows: dict[str, Row]) -> Claim:
    pairs = _pairs(rows, "nsvq", "simvq", ALL)
    return _claim(
        "nsvq-fid",
        "NSVQ reconstructs with a lower Fréchet distance than SimVQ",
        "rFID 2.10 / 2.39 = 0.88 (ImageNet 128², 65,536 codes)",
        _listed(pairs, _ratio),
        [a["fd"] < b["fd"] for a, b in pairs],
    )


def _nsvq_full(rows: dict[str, Row]) -> Claim:
    sizes = ("-16k", "", "-fast", "-16k-fast", "-long")
    found = [rows[f"{m}{s}"] for s in sizes for m in ("nsvq", "simvq") if m + s in rows]
    shown = "; ".join(f"{r['label']} {r['utilization']:.1%} of {_size(r)}" for r in found)
    return _claim(
        "nsvq-usage",
        "NSVQ and SimVQ use every code",
        "100 % and 100 % of 65,536",
        shown or "not run yet",
        [r["utilization"] >= FULL for r in found],
    )


def _sensitivity(rows: dict[str, Row], key: str, symbol: str, best: float) -> Claim:
    found = [
        row
        for row in rows.values()
        if row["name"] == "nsvq-fast" or row["name"].startswith(f"nsvq-{key}")
    ]
    found.sort(key=lambda row: row["quantizer"][key])
    claim = f"NSVQ is best at {symbol} = {best:g}"
    paper = {
        "alpha": "rFID 14.2, 13.7, 13.7, 13.42, 15.9 at .001, .01, .05, .1, .5 (CelebA)",
        "tau": "rFID 14.45, 13.5, 13.42, 13.55, 14.05 at .1, .3, .35, .5, 1 (CelebA)",
    }[key]
    shown = ", ".join(f"{row['quantizer'][key]:g}: {row['fd']:.0f}" for row in found)
    if len(found) < 2 or "nsvq-fast" not in rows:
        return _claim(f"nsvq-{key}", claim, paper, shown or "not run yet", [])
    won = min(found, key=lambda row: row["fd"])["name"] == "nsvq-fast"
    return _claim(f"nsvq-{key}", claim, paper, shown, [won])


def _downstream(
    rows: dict[str, Row], better: tuple[str, str], other: tuple[str, str], paper: str
) -> Claim:
    (method, label), (rival, named) = better, other
    pairs = _pairs(rows, method, rival, ALL)
    found = [(a, b) for a, b in pairs if None not in (a["generation_fd"], b["generation_fd"])]
    return _claim(
        f"generation-{method}",
        f"The same prior generates with a lower Fréchet distance from {label}'s tokens than from "
        f"{named}'s",
        paper,
        _listed(found, lambda a, b: _ratio_of(a["generation_fd"], b["generation_fd"])),
        [a["generation_fd"] < b["generation_fd"] for a, b in found],
    )


def _external(rows: dict[str, Row]) -> Claim:
    pairs = _pairs(rows, "simvq-rotation", "outside-simvq", ("", "-16k"))
    return _claim(
        "outside",
        "With the rotation trick, which vector-quantize-pytorch's SimVQ uses, our SimVQ is not "
        "worse in the same trainer",
        "no paper: a check of this project",
        _listed(pairs, _ratio),
        [a["fd"] <= 1.02 * b["fd"] for a, b in pairs],
    )

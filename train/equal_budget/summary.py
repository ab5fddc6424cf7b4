"""The ten lines with which the study's report opens, each written from the figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .claims import Runs
from .runs import FASTER
from .sections import SIGNS
from .spread import METHODS, Row
from .tables import ordered

MISSING = "not run yet."
NAMES = {"vqgan": "VQ-GAN", "regvq": "Reg-VQ", "simvq": "SimVQ", "nsvq": "NSVQ"}


def summary(found: dict[str, Any]) -> list[str]:
    """Return ten lines of Markdown on the runs and claims of ``docs/study/results.json``."""
    runs = Runs(found["runs"])
    claims = {claim["name"]: claim for claim in found["claims"]}
    lines = {
        "Care": _care(runs, found),
        "1,024 codes": _ranking(runs, "main"),
        "16,384 codes": _ranking(runs, "large"),
        "16 bits per position": _ranking(runs, "levels"),
        "Collapse": _collapse(runs),
        "Faster codes": _faster(runs),
        "Reg-VQ against VQ-GAN": _against(runs, claims["regvq-fid-vqgan"], "regvq", "vqgan"),
        "NSVQ against SimVQ": _against(runs, claims["nsvq-fid"], "nsvq", "simvq"),
        "Reg-VQ's mask": _mask(runs, claims["mask"]),
        "Tokens for a prior": _generation(claims),
    }
    return [f"**{subject}:** {line}" for subject, line in lines.items()]


def _care(runs: Runs, found: dict[str, Any]) -> str:
    counts = Counter(claim["verdict"] for claim in found["claims"])
    listed = ", ".join(f"{counts[word]} {word}" for word in SIGNS if counts[word])
    line = f"{found['shared']['budget']['steps']} steps on a CPU, mostly one seed per figure. "
    if "fd" in runs.spread.deviations:
        line += (
            "Two runs differ by more than chance if SqueezeNet-FD differs by "
            f"{runs.spread.threshold('fd'):.0f} or PSNR by {runs.spread.threshold('psnr'):.2f} dB. "
        )
    line += f"Verdicts on {len(found['claims'])} claims: {listed}"
    verdicts = {claim["name"]: claim["verdict"] for claim in found["claims"]}
    if elsewhere := found.get("claims_elsewhere"):
        same = sum(claim["verdict"] == verdicts[claim["name"]] for claim in elsewhere)
        line += (
            f"; {same} of {len(elsewhere)} on distances are the same on features that no run "
            "trained on (AlexNet's)"
        )
    return f"{line}."


def _ranking(runs: Runs, group: str) -> str:
    """Return the runs of a group by Fréchet distance, and those that equal the best one."""
    rows = sorted(
        (row for row in ordered(runs.rows.values()) if row["group"] == group),
        key=lambda row: row["fd"],
    )
    if not rows:
        return MISSING
    best, last = rows[0], rows[-1]
    shown = ", ".join(f"{row['label']} ({_distance(row)})" for row in rows[:4])
    equal = [row["label"] for row in rows[1:] if runs.spread.lower("fd", best, row) is None]
    equal = equal if "fd" in runs.spread.deviations else []
    line = f"lowest SqueezeNet-FD: {shown}"
    line += f"; highest: {last['label']} ({_distance(last)})" if len(rows) > 4 else ""
    if equal:
        line += f". Within the spread of the best: {', '.join(equal[:4])}"
        line += f" and {len(equal) - 4} more" if len(equal) > 4 else ""
    judged = sorted(
        (row for row in rows if row.get("lpips_vgg") is not None),
        key=lambda row: row["lpips_vgg"],
    )
    if judged:
        shown = ", ".join(f"{row['label']} ({row['lpips_vgg']:.3f})" for row in judged[:3])
        line += f". Lowest LPIPS (VGG-16): {shown}"
    return f"{line}."


def _distance(row: Row) -> str:
    return f"{row['fd']:,.0f}, {row['psnr']:.2f} dB"


def _collapse(runs: Runs) -> str:
    names = ("vqgan-uniform", "vqgan", "vqgan-uniform-16k", "vqgan-16k")
    rows = runs.found(names)
    if len(rows) < len(names):
        return MISSING
    shares = [f"{row['utilization']:.1%}" for row in rows]
    return (
        f"plain VQ uses {shares[0]} of 1,024 codes if they are initialized as in VQ-GAN's code and "
        f"{shares[1]} if they are initialized to latents; of 16,384 codes, {shares[2]} and "
        f"{shares[3]}."
    )


def _faster(runs: Runs) -> str:
    pairs = [runs.found((method, f"{method}-fast")) for method in METHODS]
    pairs = [pair for pair in pairs if len(pair) == 2]
    if not pairs:
        return MISSING
    shown = ", ".join(
        f"{NAMES[a['method']]} from {a['utilization']:.0%} to {b['utilization']:.0%}"
        for a, b in pairs
    )
    line = (
        f"with {FASTER:g} times the learning rate for 1,024 codes, the share in use changes for "
        f"{shown}"
    )
    if "fd" in runs.spread.deviations:
        nearer = [NAMES[a["method"]] for a, b in pairs if runs.spread.lower("fd", b, a)]
        listed = ", ".join(nearer) if nearer else "none"
        line += f"; SqueezeNet-FD falls by more than the spread for {listed}"
    return f"{line}."


def _against(runs: Runs, claim: dict[str, Any], method: str, rival: str) -> str:
    ratios = [a["fd"] / b["fd"] for a, b in runs.pairs(method, rival)]
    if not ratios:
        return MISSING
    return (
        f"{NAMES[method]}'s SqueezeNet-FD is {min(ratios):.2f} to {max(ratios):.2f} times "
        f"{NAMES[rival]}'s in {len(ratios)} comparisons ({_paper(claim)}), of which the spread "
        f"decides {claim['decided']}. That it is lower is {claim['verdict']}."
    )


def _paper(claim: dict[str, Any]) -> str:
    return f"the paper: {claim['paper'].split(' = ')[1].split(' ')[0]}"


def _mask(runs: Runs, claim: dict[str, Any]) -> str:
    names = ("regvq-mask0", "regvq-fast", "regvq-mask100")
    rows = runs.found(names)
    if len(rows) < len(names):
        return MISSING
    none, some, all_ = (f"{row['psnr']:.2f} dB" for row in rows)
    return (
        f"{none} with no position drawn, {some} with the paper's 40 %, {all_} with all. "
        f"That more drawn positions lower the PSNR is {claim['verdict']}."
    )


def _generation(claims: dict[str, dict[str, Any]]) -> str:
    told = []
    for name, words in (("regvq", "Reg-VQ's against VQ-GAN's"), ("nsvq", "NSVQ's against SimVQ's")):
        claim = claims[f"generation-{name}"]
        if claim["comparisons"]:
            told.append(f"{words}: {claim['ours']}, {claim['verdict']} ({_paper(claim)})")
    if not told:
        return MISSING
    return f"Fréchet distance of what the same prior generates, {'; '.join(told)}."

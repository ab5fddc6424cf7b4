"""Sections of the study's report: verdicts, tables of groups, several seeds and sweeps."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from .runs import FASTER
from .spread import Spread, decided, repeated
from .tables import Row, ordered, point, table

SIGNS = {"confirmed": "✅", "not confirmed": "❌", "in part": "🟡", "undecided": "➖", "open": "⬜"}
PARENTS = {
    "regvq-stages": ("regvq", "nsvq"),
    "nsvq-mask": ("nsvq", "regvq-mask"),
    "vq-restart": ("vqgan",),
    "simvq-rotation": ("simvq",),
}


def verdicts(claims: list[dict[str, Any]], spread: Spread) -> list[str]:
    """Return the table of claims, and the rule by which they are judged."""
    lines = [f"| {c['claim']} | {c['paper']} | {c['ours']} | {_verdict(c)} |" for c in claims]
    return [
        "## The papers' claims",
        "",
        "A claim is *confirmed* if it holds in every decided comparison (same budget and seeds), "
        "*not confirmed* if it holds in none, *in part* if it holds in some; *undecided* if no "
        "comparison is decided (of the series over codebook sizes: if a step is not), *open* if "
        "none has been run. " + _rule(spread),
        "",
        "| claim | the paper | here (SqueezeNet-FD instead of FID) | |",
        "|---|---|---|---|",
        *lines,
        "",
    ]


def verdicts_elsewhere(claims: list[dict[str, Any]], spread: Spread) -> list[str]:
    """Return the table of the claims on AlexNet's features; nothing if no run was judged."""
    if not claims:
        return []
    lines = [f"| {c['claim']} | {c['ours']} | {_verdict(c)} |" for c in claims]
    told = "AlexNet's features are a judge of another training than the runs' own loss"
    if "alexnet_fd" in spread.deviations:
        told += f"; two runs of one seed are decided from {spread.threshold('alexnet_fd'):.1f} on"
    return [
        "### The same on features that no run trained on",
        "",
        f"{told}.",
        "",
        "| claim | here (AlexNet-FD instead of FID) | |",
        "|---|---|---|",
        *lines,
        "",
    ]


def _rule(spread: Spread) -> str:
    if "fd" not in spread.deviations:
        return (
            "No method has runs of several seeds yet, so that no difference between two figures is "
            "decided."
        )
    return (
        "A difference is decided if chance alone exceeds it in one of 20 pairs at most, given the "
        "spread between seeds below: for two runs of one seed, "
        f"{spread.threshold('fd'):.0f} in SqueezeNet-FD and {spread.threshold('psnr'):.2f} dB. "
        "Ratios in bold are decided. Shares of used codes are compared with a limit, without a "
        "spread."
    )


def _verdict(claim: dict[str, Any]) -> str:
    count, clear = claim["comparisons"], claim["decided"]
    words = {0: "", 1: ", one comparison"}.get(count, f", {count} comparisons")
    if clear < count and count > 1:
        words += f", {clear} decided"
    return f"{SIGNS[claim['verdict']]} {claim['verdict']}{words}"


def group_table(
    found: dict[str, Any], group: str, charts: dict[str, str], spread: Spread
) -> list[str]:
    """Return the table of a group of runs, its chart and notes; nothing if it has no runs."""
    rows = [row for row in found["runs"] if row["group"] == group]
    if not rows:
        return []
    title = next(g["title"] for g in found["groups"] if g["name"] == group)
    parts = [f"## {title}", ""]
    if group in charts:
        parts += [f"![{title}: every method's figures]({charts[group]})", ""]
    timed = group in ("main", "large")  # a step of the other groups costs the same
    parts += table(found["columns"] if timed else figures(found), ordered(rows))
    if timed and not all(row["timed"] for row in rows):
        parts += ["Times of runs that were not timed alone are CPU times during the run.", ""]
    if any("levels" in row for row in rows):
        parts += [
            "With several ids per position, the share of codes is that of all levels together, and "
            "the perplexity that of one id (the geometric mean of the levels).",
            "",
        ]
    return parts + _notes(rows) + (_combined(rows, spread) if group in ("main", "fast") else [])


def figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the columns without time and memory."""
    return [column for column in found["columns"] if column["key"] not in ("step_ms", "peak_mb")]


def _notes(rows: list[Row]) -> list[str]:
    notes = [f"{row['label']}: {row['note']}" for row in rows if row["note"]]
    if len(rows) > 1 and len({row["note"] for row in rows}) == 1 and notes:
        notes = [f"All: {rows[0]['note']}"]
    parts = [f"{'; '.join(notes)}.", ""] if notes else []
    for row in rows:
        if row["utilization"] < row["training_utilization"] / 2:
            parts += [
                f"{row['label']} used {row['training_utilization']:.1%} of its codes in the last "
                f"steps of training and {row['utilization']:.1%} of them here, by argmax"
                + (
                    ": the codes that it draws in training differ from those of its argmax."
                    if row["method"].startswith(("gumbel", "regvq"))
                    else "."
                ),
                "",
            ]
    return parts


def _combined(rows: list[Row], spread: Spread) -> list[str]:
    """Return a sentence per combination: better or not than the methods that it combines."""
    by_method = {row["method"]: row for row in rows}
    said = []
    for name, parents in PARENTS.items():
        if name not in by_method or any(parent not in by_method for parent in parents):
            continue
        row, before = by_method[name], [by_method[parent] for parent in parents]
        best = min(before, key=lambda r: r["fd"])
        outcome = {
            True: "is better than",
            False: "is worse than",
            None: "does not differ from the better one of"
            if len(parents) > 1
            else "does not differ from",
        }[decided(best["fd"] - row["fd"], spread.threshold("fd"))]
        if outcome.startswith("does") and "fd" in spread.deviations:
            outcome = outcome.replace("differ", "differ by more than the spread")
        names = " and ".join(parent["label"] for parent in before)
        said.append(
            f"- **{row['label']}** {outcome} {names}: SqueezeNet-FD {row['fd']:.0f} against "
            f"{best['fd']:.0f} ({row['fd'] / best['fd']:.2f} times), PSNR {row['psnr']:.2f} dB "
            f"against {best['psnr']:.2f}, {row['utilization']:.1%} of the codes used."
        )
    return ["Combinations that no paper has:", "", *said, ""] if said else []


def seeds(found: dict[str, Any], spread: Spread) -> list[str]:
    """Return a table of the methods with several seeds: mean and deviation of their figures."""
    shown = (("utilization", "{:.1%}"), ("psnr", "{:.2f}"), ("fd", "{:.0f}"))
    lines = []
    for same in repeated(found["runs"]).values():
        if len(same) < 2:
            continue
        cells = [f"{same[0]['label']}, {same[0]['codes']:,} codes ({len(same)} seeds)"]
        for key, form in shown:
            values = [row[key] for row in same]
            extent = f"{form.format(min(values))} to {form.format(max(values))}"
            cells.append(f"{form.format(fmean(values))} ({extent})")
        lines.append("| " + " | ".join(cells) + " |")
    if not lines:
        return []
    pooled = [form.format(spread.deviations[key]) for key, form in shown]
    return [
        "## Several seeds",
        "",
        f"With {FASTER:g} times the learning rate for the codes: mean, and smallest to "
        "largest value. The spread of single seeds is the standard deviation around these means, "
        "of all these together; other tables are taken to have the same.",
        "",
        "| | codes used | PSNR, dB | SqueezeNet-FD |",
        "|---|---:|---:|---:|",
        *lines,
        "| *spread of single seeds* | " + " | ".join(pooled) + " |",
        "",
    ]


def sweeps(found: dict[str, Any], charts: dict[str, str]) -> list[str]:
    """Return a table per sweep that has a chart."""
    by_name = {row["name"]: row for row in found["runs"]}
    parts = []
    for sweep in found["sweeps"]:
        if sweep["name"] not in charts:
            continue
        parts += [f"## {sweep['title']}", "", f"![{sweep['title']}]({charts[sweep['name']]})", ""]
        rows = []
        for method, points in sweep["series"].items():
            for value, name in points:
                label = point(sweep["name"], value)
                if len(sweep["series"]) > 1:
                    label = f"{by_name[method]['label'] if method in by_name else method}, {label}"
                rows.append(by_name[name] | {"label": label, "kind": "ours"})
        parts += table(figures(found), rows, sweep["axis"])
    return parts

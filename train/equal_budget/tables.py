"""Tables of the study's report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]
KINDS = ("ours", "outside", "combination")


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Return rows sorted by kind (ours, external, combinations), then by Fréchet distance."""
    return sorted(rows, key=lambda row: (KINDS.index(row["kind"]), row["fd"] or 0.0))


def table(columns: list[dict[str, Any]], rows: list[Row], first: str = "") -> list[str]:
    """Return rows as Markdown, with the best figure of each column in bold."""
    shown = [c for c in columns if any(row.get(c["key"]) is not None for row in rows)]
    best = {}
    for column in shown:
        values = [row[column["key"]] for row in rows if row.get(column["key"]) is not None]
        best[column["key"]] = (max if column["better"] == "high" else min)(values)
    lines_ = [
        f"| {first} | " + " | ".join(c["label"] for c in shown) + " |",
        "|---|" + "---:|" * len(shown),
    ]
    kind = rows[0]["kind"] if rows else ""
    for row in rows:
        if row["kind"] != kind:
            kind = row["kind"]
            heading = {"outside": "*external references*", "combination": "*combinations*"}
            lines_.append(f"| {heading.get(kind, '')} |" + " |" * len(shown))
        cells = (_cell(row.get(c["key"]), c, best[c["key"]]) for c in shown)
        lines_.append(f"| {row['label']} | " + " | ".join(cells) + " |")
    return [*lines_, ""]


def _cell(value: float | None, column: dict[str, Any], best: float | None) -> str:
    if value is None:
        return ""
    digits = column["digits"]
    text = f"{value:.{digits}%}" if column["percent"] else f"{value:,.{digits}f}"
    return f"**{text}**" if value == best else text


def short(found: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a study on other pictures that the report keeps."""
    return {"shared": found["shared"], "runs": found["runs"]}


def elsewhere(other: dict[str, Any], columns: list[dict[str, Any]]) -> list[str]:
    """Return the tables of a study on other pictures, one per codebook size and learning rate of
    the codes, and the two comparisons of the papers in each."""
    shared = other["shared"]
    steps = shared["budget"]["steps"]
    parts = [
        f"## On other pictures: {other['name']}",
        "",
        f"The same network and losses, {steps} steps of {shared['budget']['batch']} crops; "
        f"evaluated on {shared['images']} pictures of that data set that no run trained on, of one "
        "seed: no difference is decided.",
        "",
    ]
    settings = {(row["codes"], row["codes_rate"]) for row in other["runs"]}
    for codes, rate in sorted(settings):
        rows = {
            row["method"]: row
            for row in other["runs"]
            if (row["codes"], row["codes_rate"]) == (codes, rate)
        }
        faster = f", {rate:g} times the learning rate for them" if rate != 1 else ""
        title = f"{codes:,} codes{faster}"
        parts += [*table(columns, ordered(rows.values()), title), *_compared(rows)]
    return parts


def _compared(rows: Mapping[str, Row]) -> list[str]:
    lines = []
    for a, b in (("regvq", "vqgan"), ("nsvq", "simvq")):
        if a in rows and b in rows:
            ratio = rows[a]["fd"] / rows[b]["fd"]
            gain = f"{rows[a]['psnr'] - rows[b]['psnr']:+.2f}".replace("-", "−")
            lines += [
                f"- {rows[a]['label']} against {rows[b]['label']}: SqueezeNet-FD {ratio:.2f} "
                f"times, PSNR {gain} dB."
            ]
    return [*lines, ""] if lines else []


def point(sweep: str, value: float) -> str:
    """Return a value of a sweep's setting as text."""
    if sweep == "mask":
        return f"{value:.0%}"
    return f"{value:,.0f}" if sweep == "size" else f"{value:g}"

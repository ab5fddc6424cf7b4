"""Tables of the study's report."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Return the table of a study on other pictures, and the two comparisons of the papers."""
    shared, rows = other["shared"], {row["method"]: row for row in other["runs"]}
    steps = shared["budget"]["steps"]
    parts = [
        f"## On other pictures: {other['name']}",
        "",
        f"The same network and losses, {steps} steps of {shared['budget']['batch']} crops; "
        f"evaluated on {shared['images']} pictures of that data set that no run trained on.",
        "",
        *table(columns, ordered(rows.values())),
    ]
    for a, b in (("regvq", "vqgan"), ("nsvq", "simvq")):
        if a in rows and b in rows:
            ratio = rows[a]["fd"] / rows[b]["fd"]
            gain = f"{rows[a]['psnr'] - rows[b]['psnr']:+.2f}".replace("-", "−")
            parts += [
                f"- {rows[a]['label']} against {rows[b]['label']}: SqueezeNet-FD {ratio:.2f} "
                f"times, PSNR {gain} dB."
            ]
    return [*parts, ""]


def point(sweep: str, value: float) -> str:
    """Return a value of a sweep's setting as text."""
    if sweep == "mask":
        return f"{value:.0%}"
    return f"{value:,.0f}" if sweep == "size" else f"{value:g}"

"""Tables of methods by several makers: a table per figure, and where ours is behind."""

from __future__ import annotations

OURS, PEER = "regvq-studio", "vector-quantize-pytorch"
RIVALS = (PEER, "diffusers", "textbook")
MARGIN = 1.05  # a time that is longer by less than this factor is not called slower
PLACES = {"alone_ms": "ms, alone", "company_ms": "ms, in company", "extra_mb": "extra MB"}


def table(heading: str, rows: list[dict]) -> list[str]:
    """Return the figures of a case as Markdown: a table per figure, with a line per kind and a
    column per maker, and a list of where ours is behind."""
    makers = list(dict.fromkeys(row["maker"] for row in rows))
    by_kind: dict[str, dict[str, dict]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], {})[row["maker"]] = row
    lines = [f"**{heading}**", ""]
    for key in (key for key in PLACES if any(key in row for row in rows)):
        lines += [f"| {PLACES[key]} | {' | '.join(makers)} |", "|---|" + "---:|" * len(makers)]
        for kind, found in by_kind.items():
            values = {m: row[key] for m, row in found.items() if row.get(key) is not None}
            cells = (_cell(values, maker, 0 if key == "extra_mb" else 1) for maker in makers)
            lines.append(f"| {kind} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"- {sentence}" for sentence in _sentences(rows)]
    lines += [f"- {r['maker']} {r['kind']}: {r['failed']}" for r in rows if "failed" in r]
    return lines


def _cell(values: dict[str, float], maker: str, digits: int) -> str:
    """Return a maker's value, in bold type if it is the best of several."""
    if maker not in values:
        return ""
    text = f"{values[maker]:.{digits}f}"
    return f"**{text}**" if len(values) > 1 and values[maker] == min(values.values()) else text


def ratios(rows: list[dict]) -> dict[tuple[str, str, str], float]:
    """Return our time as a multiple of each rival's, by kind, rival and the key of the time."""
    found = {}
    times = {(r["kind"], r["maker"]): r for r in rows if "failed" not in r}
    for rival in RIVALS:
        for key in (key for key in PLACES if key.endswith("_ms")):
            for (kind, maker), theirs in times.items():
                ours = times.get((kind, OURS))
                if (
                    maker == rival
                    and ours is not None
                    and None not in (ours.get(key), theirs.get(key))
                ):
                    found[kind, rival, key] = ours[key] / theirs[key]
    return found


def _sentences(rows: list[dict]) -> list[str]:
    """Return, for each rival and time, the kinds in which ours is behind."""
    found, told = ratios(rows), []
    for rival in RIVALS:
        for key, words in (("alone_ms", "alone"), ("company_ms", "in company")):
            of_rival = {
                k: ratio for (k, name, at), ratio in found.items() if (name, at) == (rival, key)
            }
            behind = [f"{k} ({ratio:.2f} times)" for k, ratio in of_rival.items() if ratio > MARGIN]
            if of_rival:
                told.append(f"Slower than {rival} {words}: {', '.join(behind) or 'nothing'}.")
    return told

"""Tables of methods by several makers: a line per kind, and where ours is behind."""

from __future__ import annotations

OURS, PEER = "regvq-studio", "vector-quantize-pytorch"
RIVALS = (PEER, "diffusers", "textbook")
MARGIN = 1.05  # a time that is longer by less than this factor is not called slower
PLACES = {"alone_ms": "ms", "company_ms": "ms, in company", "extra_mb": "MB"}


def table(heading: str, rows: list[dict]) -> list[str]:
    """Return the figures of a case as Markdown: a line per kind, a column per maker and figure."""
    makers = list(dict.fromkeys(row["maker"] for row in rows))
    places = [key for key in PLACES if any(key in row for row in rows)]
    by_kind: dict[str, dict[str, dict]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], {})[row["maker"]] = row
    columns = [f"{PLACES[key]}: {maker}" for key in places for maker in makers]
    lines = [f"**{heading}**", "", f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for kind, found in by_kind.items():
        cells = []
        for key in places:
            values = {m: row[key] for m, row in found.items() if row.get(key) is not None}
            for maker in makers:
                if maker not in values:
                    cells.append("")
                    continue
                text = f"{values[maker]:.{0 if key == 'extra_mb' else 1}f}"
                best = len(values) > 1 and values[maker] == min(values.values())
                cells.append(f"**{text}**" if best else text)
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", *_sentences(rows)]
    lines += [f"{r['maker']} {r['kind']}: {r['failed']}" for r in rows if "failed" in r]
    return lines


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

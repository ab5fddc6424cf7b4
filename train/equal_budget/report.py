"""``RESULTS.md``, its charts and ``docs/study/results.json``, all written from finished runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from regvq.bundles.storage import write_json

from .charts import Column, Panel, dots, lines
from .claims import SEEDS, claims
from .results import gather, read_results
from .runs import FASTER, LONGER, all_runs
from .tables import KINDS, Row, elsewhere, ordered, short, table

PLACE = Path("docs") / "study"
TABLES = ("main", "large", "fast", "large-fast", "long")


def write_report(out: Path, results: Path | None, to: Path, more: Iterable[Path] = ()) -> Path:
    """Write RESULTS.md and docs/study/ below ``to``, from the runs below ``out`` and of the studies
    ``more``, or from a ``results.json``; returns RESULTS.md."""
    found = gather(out) if results is None else read_results(results)
    if others := [{"name": place.resolve().name, **short(gather(place))} for place in more]:
        found["elsewhere"] = others
    found["claims"] = [claim._asdict() for claim in claims(found["runs"])]
    folder = to / PLACE
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", found)
    charts = {}
    for name, chart in _charts(found).items():
        (folder / f"{name}.svg").write_text(chart, encoding="utf-8")
        charts[name] = f"{PLACE.as_posix()}/{name}.svg"
    report = to / "RESULTS.md"
    report.write_text(render(found, charts), encoding="utf-8")
    print(f"written: {report}, {folder / 'results.json'} and {len(charts)} charts")
    return report


def render(found: dict[str, Any], charts: dict[str, str]) -> str:
    """The report as Markdown; ``charts`` are paths by name."""
    rows, shared = found["runs"], found["shared"]
    budget = shared["budget"]
    side = budget["data"]["size"]
    missing = [name for name in all_runs() if name not in {row["name"] for row in rows}]
    parts = [
        "# The study: every quantizer at equal budget",
        "",
        "Written by `python train/study.py report` from the runs' own results; nothing in it is "
        "typed by hand. `docs/study/results.json` holds every figure.",
        "",
        f"Every run has the same network ({shared['parameters'] / 1e6:.1f} M parameters, widths "
        f"{', '.join(map(str, budget['network']['widths']))}, one token per 8x8 pixels, codes of "
        f"{budget['network']['latent_dim']} numbers), the same {budget['steps']} steps of the same "
        f"{budget['batch']} crops of {side} pixels, optimizer, discriminator (second half of the "
        "run) and losses; it differs in the quantizer and in what belongs to its method (some "
        f"tables below give the codes {FASTER:g} times the rate, one also {LONGER} times the "
        "steps). Judged "
        f"on {shared['images']} photographs that no run trained on: whole pictures, argmax codes, "
        f"{shared['tokens']:,} tokens.",
        "",
        f"Distances are computed on {shared['features']}. They are neither LPIPS nor FID, training "
        "used the same features as its perceptual loss, and a Fréchet distance from "
        f"{shared['images']} pictures is biased upwards: compare them within this page only. "
        "These are minutes of training on a CPU, not the papers' days on GPUs; unless a table "
        "says otherwise, a figure is of one seed.",
        "",
        *_downstream(shared.get("downstream")),
        "Run it again: `python train/study.py run --study.root PHOTOS`, then `timing`, "
        "`downstream` and `report`; `--help` says more.",
        "",
        *_claims(found["claims"]),
    ]
    for group in TABLES:
        parts += _group(found, group, charts)
    for other in found.get("elsewhere", ()):
        parts += elsewhere(other, _figures(found))
    parts += _seeds(found)
    parts += _sweeps(found, charts)
    if missing:
        parts += [
            "## Not run yet",
            "",
            f"{len(missing)} of {len(all_runs())} runs: {', '.join(f'`{n}`' for n in missing)}. "
            "`python train/study.py run` goes on with them.",
            "",
        ]
    return "\n".join(parts).rstrip() + "\n"


def _downstream(settings: dict[str, Any] | None) -> list[str]:
    if not settings:
        return []
    side = settings["size"]
    return [
        "*Generation FD* is what a tokenizer's tokens are worth downstream: an unconditional "
        f"autoregressive prior ({settings['layers']} layers of {settings['width']}, the same for "
        f"all) learns them for {settings['steps']} steps of {settings['batch']} crops, and "
        f"{settings['pictures']:,} pictures of {side} pixels that it generates are compared with "
        "as many crops of held-out photographs.",
        "",
    ]


def _claims(found: list[dict[str, str]]) -> list[str]:
    lines_ = [f"| {c['claim']} | {c['paper']} | {c['ours']} | {_verdict(c)} |" for c in found]
    return [
        "## What it says about the papers' claims",
        "",
        "A claim is *confirmed* if it holds in every pair of runs listed (same budget and seed), "
        "*not confirmed* if in none, *in part* if in some; *open* if a run is missing. Small "
        "differences between single seeds mean little: see the seeds below.",
        "",
        "| claim | the paper | here (SqueezeNet-FD for FID) | |",
        "|---|---|---|---|",
        *lines_,
        "",
    ]


def _verdict(claim: dict[str, Any]) -> str:
    signs = {"confirmed": "✅", "not confirmed": "❌", "in part": "🟡", "open": "⬜"}
    rests = {0: "", 1: ", one comparison"}.get(
        claim["comparisons"], f", {claim['comparisons']} comparisons"
    )
    return f"{signs[claim['verdict']]} {claim['verdict']}{rests}"


def _group(found: dict[str, Any], group: str, charts: dict[str, str]) -> list[str]:
    rows = [row for row in found["runs"] if row["group"] == group]
    if not rows:
        return []
    title = next(g["title"] for g in found["groups"] if g["name"] == group)
    parts = [f"## {title}", ""]
    if group in charts:
        parts += [f"![{title}: every method's figures]({charts[group]})", ""]
    timed = group in ("main", "large")  # elsewhere a step costs what it costs there
    parts += table(found["columns"] if timed else _figures(found), ordered(rows))
    if timed and not all(row["timed"] for row in rows):
        parts += [
            "Times are CPU time during the run where the run was not timed alone.",
            "",
        ]
    return parts + _notes(rows) + (_combined(rows) if group in ("main", "fast") else [])


def _figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns but for time and memory."""
    return [column for column in found["columns"] if column["key"] not in ("step_ms", "peak_mb")]


def _notes(rows: list[Row]) -> list[str]:
    notes = [f"{row['label']}: {row['note']}" for row in rows if row["note"]]
    parts = [f"{'; '.join(notes)}.", ""] if notes else []
    for row in rows:
        if row["utilization"] < row["training_utilization"] / 2:
            parts += [
                f"{row['label']} used {row['training_utilization']:.1%} of its codes in the last "
                f"steps of training and {row['utilization']:.1%} of them here, by argmax"
                + (
                    ": the codes that it draws in training are not yet those of its argmax."
                    if row["method"].startswith(("gumbel", "regvq"))
                    else "."
                ),
                "",
            ]
    return parts


PARENTS = {
    "regvq-stages": ("regvq", "nsvq"),
    "nsvq-mask": ("nsvq", "regvq-mask"),
    "vq-restart": ("vqgan",),
    "simvq-rotation": ("simvq",),
}


def _combined(rows: list[Row]) -> list[str]:
    """Whether each combination is better than what it combines, in a sentence."""
    by_method = {row["method"]: row for row in rows}
    said = []
    for name, parents in PARENTS.items():
        if name not in by_method or any(parent not in by_method for parent in parents):
            continue
        row, before = by_method[name], [by_method[parent] for parent in parents]
        best = min(before, key=lambda r: r["fd"])
        ratio = row["fd"] / best["fd"]
        outcome = "better than" if ratio < 1 else "not better than"
        names = " and ".join(parent["label"] for parent in before)
        said.append(
            f"- **{row['label']}** is {outcome} {names}: SqueezeNet-FD {row['fd']:.0f} against "
            f"{best['fd']:.0f} ({ratio:.2f} times), PSNR {row['psnr']:.2f} dB against "
            f"{best['psnr']:.2f}, {row['utilization']:.1%} of the codes used."
        )
    return ["Combinations that no paper has:", "", *said, ""] if said else []


def _seeds(found: dict[str, Any]) -> list[str]:
    """Methods that were run with several seeds: mean and range of their figures."""
    by_name = {row["name"]: row for row in found["runs"]}
    lines_ = []
    for method in ("vqgan", "regvq", "simvq", "nsvq"):
        same = [by_name[method + s] for s in SEEDS if method + s in by_name]
        if len(same) < 2:
            continue
        cells = [f"{same[0]['label']} ({len(same)} seeds)"]
        for key, form in (("utilization", "{:.1%}"), ("psnr", "{:.2f}"), ("fd", "{:.0f}")):
            values = [row[key] for row in same]
            spread = f"{form.format(min(values))} to {form.format(max(values))}"
            cells.append(f"{form.format(fmean(values))} ({spread})")
        lines_.append("| " + " | ".join(cells) + " |")
    if not lines_:
        return []
    return [
        "## Several seeds",
        "",
        f"At 1,024 codes and {FASTER:g} times the rate for them: mean, and smallest to largest.",
        "",
        "| | codes used | PSNR, dB | SqueezeNet-FD |",
        "|---|---:|---:|---:|",
        *lines_,
        "",
    ]


def _sweeps(found: dict[str, Any], charts: dict[str, str]) -> list[str]:
    by_name = {row["name"]: row for row in found["runs"]}
    parts = []
    for sweep in found["sweeps"]:
        if sweep["name"] not in charts:
            continue
        parts += [f"## {sweep['title']}", "", f"![{sweep['title']}]({charts[sweep['name']]})", ""]
        rows = []
        for method, points in sweep["series"].items():
            for value, name in points:
                label = _value(sweep["name"], value)
                if len(sweep["series"]) > 1:
                    label = f"{by_name[method]['label'] if method in by_name else method}, {label}"
                rows.append(by_name[name] | {"label": label, "kind": "ours"})
        parts += table(_figures(found), rows, sweep["axis"])
    return parts


def _value(sweep: str, value: float) -> str:
    if sweep == "mask":
        return f"{value:.0%}"
    return f"{value:,.0f}" if sweep == "size" else f"{value:g}"


def _charts(found: dict[str, Any]) -> dict[str, str]:
    """SVG by name, of what there is enough of."""
    charts = {}
    for group in TABLES:
        rows = ordered(row for row in found["runs"] if row["group"] == group)
        if len(rows) > 1:
            charts[group] = _dot_chart(rows)
    by_name = {row["name"]: row for row in found["runs"]}
    for sweep in found["sweeps"]:
        longest = max(map(len, sweep["series"].values()), default=0)
        if longest > 1:
            charts[sweep["name"]] = _line_chart(sweep, by_name)
    return charts


def _dot_chart(rows: list[Row]) -> str:
    def column(title: str, key: str, form: str, **scale: bool) -> Column:
        return Column(title, [row[key] for row in rows], form.format, **scale)

    return dots(
        [row["label"] for row in rows],
        [KINDS.index(row["kind"]) for row in rows],
        [
            column("codes used", "utilization", "{:.0%}", zero=True),
            column("perplexity", "perplexity", "{:,.0f}", logarithmic=True),
            column("PSNR, dB", "psnr", "{:.2f}"),
            column("SqueezeNet-FD, low is good", "fd", "{:,.0f}"),
        ],
    )


def _line_chart(sweep: dict[str, Any], by_name: dict[str, Row]) -> str:
    def across(value: float) -> str:
        return _value(sweep["name"], value)

    def panel(title: str, key: str, form: Callable[[float], str]) -> Panel:
        series = {
            (by_name[method]["label"] if method in by_name else method): [
                (value, by_name[name][key]) for value, name in points
            ]
            for method, points in sweep["series"].items()
        }
        return Panel(title, sweep["axis"], series, form, across)

    return lines(
        [
            panel("PSNR, dB", "psnr", "{:.2f}".format),
            panel("SqueezeNet-FD", "fd", "{:,.0f}".format),
            panel("codes used", "utilization", "{:.0%}".format),
        ]
    )

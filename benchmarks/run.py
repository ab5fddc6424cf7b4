"""All benchmarks, side by side with other projects, for one page: ``python benchmarks/run.py``.

Each part writes its figures to ``benchmarks/results/NAME.json``, with machine, date and command,
and its tables to ``docs/performance.md``, between markers; the page's other lines stay. A part that
was measured on this machine already is not measured again: an interrupted run resumes. ``--again``
measures it anyway, ``--only NAME`` some parts alone (also again), and ``--page-only`` none: it
writes the page from the figures that are there. Run it where nothing else computes; all parts take
about 25 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pages
from clock import machine

from core.threads import wait_passively

wait_passively()

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "waiting": "waiting",
    "lookup": "lookup",
    "training": "training",
    "tokenizers": "tokenizer_training",
    "coding": "coding",
    "sampling": "sampling",
    "priors": "prior_kinds",
    "loading": "loading",
    "start": "startup",
    "codes": "codebooks",
}
"""The modules of the parts: each has ``measure(tiny) -> rows`` and ``tables(rows) -> Markdown``."""
SAME = ("processor", "cores", "threads", "torch")
"""Facts of a machine that make figures comparable."""


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts that are not there yet, and write the page."""
    flags = _flags(arguments)
    here = machine()
    for name in flags.only or PARTS:
        file = flags.out / f"{name}.json"
        if flags.page_only or not (flags.again or flags.only or not _is_there(file, here)):
            continue
        print(f"{name} …", flush=True)
        record = _measured(name, flags.tiny)
        flags.out.mkdir(parents=True, exist_ok=True)
        written = file.with_suffix(".new")
        written.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        written.replace(file)
        print(f"{text_of(name, record)}\n", flush=True)
    files = {name: flags.out / f"{name}.json" for name in PARTS}
    records = {
        name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()
    }
    texts = {name: pages.MISSING.format(name) for name in PARTS}
    texts |= {name: text_of(name, record) for name, record in records.items()}
    pages.write(flags.page, texts)
    print(f"written: {flags.page}")


def _flags(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--only", nargs="+", default=[], choices=list(PARTS), metavar="NAME",
        help=f"measure only these parts, again: {', '.join(PARTS)}")  # fmt: skip
    add("--again", action="store_true", help="measure again what was measured on this machine")
    add("--page-only", action="store_true", help="measure nothing, write the page")
    add("--tiny", action="store_true", help="sizes that take no time and say nothing, for tests")
    add("--out", type=Path, default=ROOT / "benchmarks" / "results", metavar="DIR",
        help="folder of the figures (default: benchmarks/results)")  # fmt: skip
    add("--page", type=Path, default=ROOT / "docs" / "performance.md", metavar="FILE",
        help="page whose measured parts are written (default: docs/performance.md)")  # fmt: skip
    return parser.parse_args(arguments)


def _is_there(file: Path, here: dict[str, Any]) -> bool:
    """Return True if the figures of a part were measured on this machine."""
    if not file.exists():
        return False
    there = json.loads(file.read_text("utf-8"))["machine"]
    return all(there.get(fact) == here[fact] for fact in SAME)


def _measured(name: str, tiny: bool) -> dict[str, Any]:
    """Return the record of a part: its rows, and where, when and how they were measured."""
    described, began = machine(), time.perf_counter()
    rows = import_module(PARTS[name]).measure(tiny)
    return {
        "command": f"python benchmarks/run.py --only {name}{' --tiny' if tiny else ''}",
        "machine": described,
        "seconds": round(time.perf_counter() - began),
        "rows": rows,
    }


def text_of(name: str, record: dict[str, Any]) -> str:
    """Return the Markdown of a part."""
    facts = record["machine"]
    line = (
        f"`{record['command']}`: {facts['date']}, {facts['processor']}, {facts['cores']} cores, "
        f"torch {facts['torch']}, load {facts['load of the machine before']} before."
    )
    return f"{line}\n\n{import_module(PARTS[name]).tables(record['rows'])}"


if __name__ == "__main__":
    main()

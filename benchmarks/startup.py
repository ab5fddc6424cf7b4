"""Seconds until the library, the commands and the explorer are there.

``python benchmarks/run.py --only start`` starts each several times, in a new process, and states
the fastest: files are in memory then, as for the second start on a machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pages import table

ROOT = Path(__file__).resolve().parents[1]
DYNAMO = "import sys; print('torch._dynamo' in sys.modules)"
COMMANDS = {
    "import regvq": ("-c", f"import regvq; {DYNAMO}"),
    "import torch": ("-c", f"import torch; {DYNAMO}"),
    "from regvq import Tokenizer": ("-c", f"from regvq import Tokenizer; {DYNAMO}"),
    "from regvq import Tokenizer, load_prior, open_dataset": (
        "-c", f"from regvq import Tokenizer, load_prior, open_dataset; {DYNAMO}",
    ),
    "train/run.py --help": ("train/run.py", "--help"),
    "train/run.py scenes-regvq --help": ("train/run.py", "scenes-regvq", "--help"),
    "train/evaluate.py --help": ("train/evaluate.py", "--help"),
    "train/encode.py --help": ("train/encode.py", "--help"),
}  # fmt: skip
TIMES = 4


def seconds_of(words: tuple[str, ...]) -> tuple[float, str]:
    """Return the seconds of ``python WORDS`` in the project's folder, and its last line."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, done.stdout.strip().rpartition("\n")[2]


def seconds_to_page() -> float:
    """Return the seconds from ``python app.py`` until its page is served."""
    from app_load import start_app

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with start_app(Path(folder) / "app.log"):
            return time.perf_counter() - started


def measure(tiny: bool = False) -> list[dict[str, Any]]:
    """Return a row per command."""
    times, rows = 1 if tiny else TIMES, []
    for name, words in list(COMMANDS.items())[: 1 if tiny else None]:
        found = [seconds_of(words) for _ in range(times)]
        row: dict[str, Any] = {"command": name, "seconds": min(one for one, _ in found)}
        if words[0] == "-c":
            row["dynamo"] = {"True": "yes", "False": "no"}[found[0][1]]
        rows.append(row)
    page = min(seconds_to_page() for _ in range(1 if tiny else 2))
    return [*rows, {"command": "app.py, until the page is served", "seconds": page}]


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown of the figures."""
    columns = {"command": "", "seconds.2": "seconds", "dynamo": "imports torch._dynamo"}
    return table(columns, rows)

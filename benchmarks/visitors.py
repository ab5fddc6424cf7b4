"""Waits of many visitors: look-ups beside visitors who reconstruct pictures.

``python benchmarks/visitors.py`` starts the app (``--app``: that of another source tree). First one
visitor reconstructs alone, for the model's own speed, then one looks up alone. Then ``--visitors``
reconstruct for ``--seconds``, each one request after another, beside ``--lookers`` who look codes
and maps up with a pause in between. It prints how long each kind of request waited for its answer.
Every reconstruction has a seed of its own, so that none is answered from a cache.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app_load import ROOT, connect, make_files, quantile, resident, start_app

Call = tuple[str, tuple[Any, ...]]
"""An endpoint and its arguments."""


class Waits:
    """The seconds that requests took, and the errors, by the name of their kind."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        """Reconstructions by visitor."""
        self._lock = threading.Lock()

    def time(self, client: Any, kind: str, call: Call, visitor: int | None = None) -> None:
        """Send one request and note how long its answer took."""
        name, arguments = call
        started = time.monotonic()
        try:
            client.predict(*arguments, api_name=name)
        except Exception as error:
            with self._lock:
                self.errors[f"{kind}: {type(error).__name__}: {error}"] += 1
            time.sleep(0.5)
            return
        with self._lock:
            self.seconds.setdefault(kind, []).append(time.monotonic() - started)
            if visitor is not None:
                self.answers[visitor] += 1


def main() -> None:
    """Measure as the flags say and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--visitors", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--lookers", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60, help="default: %(default)s")
    parser.add_argument("--alone", type=float, default=10, help="seconds of a single visitor")
    parser.add_argument("--app", type=Path, default=ROOT, help="the source tree whose app is run")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        visit = make_files(Path(folder))
        with start_app(Path(folder) / "app.log", flags.app) as (url, pid):
            print(measure(url, pid, visit.pictures, flags))


def measure(url: str, pid: int, pictures: tuple[Path, ...], flags: argparse.Namespace) -> str:
    """Return the table of one run."""
    from gradio_client import handle_file

    first = connect(url)
    parts = first.config["components"]
    box = next(one for one in parts if one.get("props", {}).get("elem_id") == "checkpoint")
    checkpoint = box["props"]["value"]
    seeds = itertools.count(1)

    def reconstruct(rng: random.Random) -> tuple[str, Call]:
        picture = handle_file(rng.choice(pictures))
        return "reconstruct", ("/reconstruct", (picture, checkpoint, 0.5, next(seeds)))

    def look_up(rng: random.Random) -> tuple[str, Call]:
        return rng.choice(
            [
                ("code detail", ("/code_detail", (checkpoint, rng.randrange(64)))),
                ("code map", ("/code_map", (checkpoint, "pca"))),
                ("codebook", ("/codebook_usage", (checkpoint, "bundle"))),
            ]
        )

    warm = Waits()
    for seed in range(12):  # every kind of look-up is among them
        for ask in (reconstruct, look_up) if seed < 2 else (look_up,):
            warm.time(first, *ask(random.Random(seed)))
    alone = Waits()
    _crowd(url, alone, flags.alone, [(reconstruct, 0.0)])
    _crowd(url, alone, flags.alone / 2, [(look_up, 0.3)])
    before = resident(pid)
    waits = Waits()
    crowd = [(reconstruct, 0.0)] * flags.visitors + [(look_up, 0.5)] * flags.lookers
    _crowd(url, waits, flags.seconds, crowd)
    return _report(flags, alone, waits, before, resident(pid))


def _crowd(
    url: str,
    waits: Waits,
    seconds: float,
    visitors: list[tuple[Callable[[random.Random], tuple[str, Call]], float]],
) -> None:
    """Let visitors, each with what it asks and its pause in seconds, send requests together."""
    clients = [connect(url) for _ in visitors]
    end = time.monotonic() + seconds

    def visit(number: int) -> None:
        rng = random.Random(number)
        ask, pause = visitors[number]
        while time.monotonic() < end:
            kind, call = ask(rng)
            waits.time(clients[number], kind, call, number if kind == "reconstruct" else None)
            time.sleep(rng.expovariate(1 / pause) if pause else 0)

    threads = [threading.Thread(target=visit, args=(n,), daemon=True) for n in range(len(visitors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()


def _report(
    flags: argparse.Namespace, alone: Waits, waits: Waits, before: float, after: float
) -> str:
    lines = [
        f"{flags.visitors} visitors who reconstruct and {flags.lookers} who look up, for "
        f"{flags.seconds:g} s; {os.cpu_count()} cores.",
        "",
        "| | answers | p50 | p95 | longest | p50 of one visitor alone |",
        "|---|---|---|---|---|---|",
    ]
    looked = [kind for kind in waits.seconds if kind != "reconstruct"]
    every = {**waits.seconds, "look-ups": [s for kind in looked for s in waits.seconds[kind]]}
    single = {
        **alone.seconds,
        "look-ups": [s for k, all_ in alone.seconds.items() if k != "reconstruct" for s in all_],
    }
    for kind, seconds in sorted(every.items()):
        shown = [quantile(seconds, 0.5), quantile(seconds, 0.95), max(seconds, default=None)]
        shown.append(quantile(single.get(kind, []), 0.5))
        cells = " | ".join("" if value is None else f"{value:.2f} s" for value in shown)
        lines.append(f"| {kind} | {len(seconds)} | {cells} |")
    shares = [waits.answers[number] for number in range(flags.visitors)]
    lines += [
        "",
        f"Reconstructions per visitor: {min(shares)} to {max(shares)}. Memory of the server: "
        f"{before:,.0f} MB before the crowd, {after:,.0f} MB after it.",
    ]
    lines += [f"- {count} errors: {text[:200]}" for text, count in waits.errors.most_common(5)]
    return "\n".join(lines)


if __name__ == "__main__":
    # When it is terminated, it also ends the app that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()

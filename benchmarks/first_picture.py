"""Seconds until a visitor of the app sees the first picture of a shipped prior.

``python benchmarks/first_picture.py NAME --threads 2`` draws one picture from the prior NAME in
this fresh process, by the same calls as the tab Generate makes, and prints as JSON how long it took
to import what is needed, and from the request on until the prior and its tokenizer were loaded,
until the first step was shown, and until the picture was finished; then once more, with everything
loaded. ``python benchmarks/sampling.py --shipped`` does so for every prior in checkpoints/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Measure the prior that is named and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("prior", help="its name in the app")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    flags = parser.parse_args()
    print(json.dumps(measure(flags.prior, flags.threads)))


def measure(name: str, threads: int) -> dict[str, Any]:
    """Seconds of a first picture and of a second one, each in parts."""
    begun = time.perf_counter()
    import torch

    from app.services import priors, semantic_maps
    from app.tabs import generate_handlers
    from core.checkpoints import load_prior  # noqa: F401 - the app has it by the first picture
    from core.conditions import import_open_clip

    import_open_clip()  # as the app does when the tab is opened
    torch.set_num_threads(threads)
    imported = time.perf_counter() - begun
    found = next((each for each in priors.painters() if each.name == name), None)
    if found is None:
        raise SystemExit(f"there is no prior called {name}")
    begun = time.perf_counter()
    _ = found.prior, found.model
    loaded = time.perf_counter() - begun
    way = "From words" if "text" in found.told else "From a map"
    prompt, plan = "", None
    if way == "From words":
        prompt = semantic_maps.prompts(found)[0]
    else:
        plan = generate_handlers.prepared(way, name, None, None, None)[9]

    def picture() -> dict[str, float]:
        begun, first = time.perf_counter(), None
        for shown, _ in generate_handlers.show(way, name, prompt, plan, None, None, None, 1, 0):
            now = time.perf_counter() - begun
            if "problem" in shown:
                raise SystemExit(shown["problem"])
            if first is None and shown.get("done"):
                first = now
        return {"first_step": first, "finished": now}

    return {
        "prior": name, "way": way, "threads": threads, "imports": imported, "loading": loaded,
        "first": picture(), "second": picture(),
    }  # fmt: skip


def every_shipped(threads: int) -> list[dict[str, Any]]:
    """The figures of every prior in checkpoints/ that can be asked for a picture."""
    from app.services import priors

    found = []
    for painter in priors.painters():
        if painter.name.startswith("runs/") or not {"text", "semantic"} & set(painter.told):
            continue
        command = [sys.executable, __file__, painter.name, "--threads", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def table(figures: list[dict[str, Any]]) -> str:
    """The figures in Markdown; the first picture's are counted from the request, with loading."""
    lines = [
        "| prior | loading (s) | first step shown (s) | first picture (s) | next picture (s) |",
        "|---|---|---|---|---|",
    ]
    for row in figures:
        load, first = row["loading"], row["first"]
        lines.append(
            f"| {row['prior']} | {load:.2f} | {load + first['first_step']:.2f} | "
            f"{load + first['finished']:.2f} | {row['second']['finished']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

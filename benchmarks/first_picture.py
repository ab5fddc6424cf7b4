"""Seconds until a user of the app sees the first picture of a shipped prior.

``python benchmarks/first_picture.py NAME --threads 2`` generates one picture from the prior NAME in
this new process, by the same calls as the tab Generate, and prints as JSON the seconds of the
imports, and those from the request until the prior and its tokenizer were loaded, until the first
step was shown, and until the picture was finished; then the same again with everything loaded.
``python benchmarks/sampling.py --shipped`` does so for every prior in checkpoints/.
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

from core.threads import wait_passively

wait_passively()


def main() -> None:
    """Measure the given prior and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("prior", help="its name in the app")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    flags = parser.parse_args()
    print(json.dumps(measure(flags.prior, flags.threads)))


def measure(name: str, threads: int) -> dict[str, Any]:
    """Return the seconds of a first picture and of a second one, each in parts."""
    started = time.perf_counter()
    import torch

    from app.services import generation_examples, priors
    from app.tabs import generate_handlers
    from core.checkpoints import load_prior  # noqa: F401 - imported before the first picture
    from core.conditions import import_open_clip

    import_open_clip()  # the app does this when the tab is opened
    torch.set_num_threads(threads)
    imported = time.perf_counter() - started
    found = next((each for each in priors.all_priors() if each.name == name), None)
    if found is None:
        available = ", ".join(each.name for each in priors.all_priors())
        raise SystemExit(f"there is no prior called {name}; available: {available}")
    started = time.perf_counter()
    _ = found.prior, found.tokenizer_handle
    loaded = time.perf_counter() - started
    mode = next(each for each in ("text", "label", "semantic") if each in found.modes)
    prompt, plan, label = "", None, None
    if mode == "text":
        prompt = generation_examples.example_prompts(found)[0]
    elif mode == "label":
        label = found.labels[0]
    else:
        plan = generate_handlers.on_prior_change(mode, name, None, None, None)["plan"]

    def picture() -> dict[str, float]:
        started, first = time.perf_counter(), None
        page = (mode, name, prompt, plan, None, None, None, label)
        for values in generate_handlers.generate(*page, 1, 0):
            now, shown = time.perf_counter() - started, values["results"]
            if "problem" in shown:
                raise SystemExit(shown["problem"])
            if first is None and shown.get("done"):
                first = now
        return {"first_step": first, "finished": now}

    return {
        "prior": name,
        "way": mode,
        "threads": threads,
        "imports": imported,
        "loading": loaded,
        "first": picture(),
        "second": picture(),
    }


def every_shipped(threads: int) -> list[dict[str, Any]]:
    """Return the figures of every prior in checkpoints/ that generates from text, map or class."""
    from app.services import priors

    found, conditions = [], {"text", "semantic", "label"}
    for handle in priors.all_priors():
        if handle.name.startswith("runs/") or not conditions & set(handle.conditions):
            continue
        command = [sys.executable, __file__, handle.name, "--threads", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def table(figures: list[dict[str, Any]]) -> str:
    """Return the figures in Markdown; those of the first picture include loading."""
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

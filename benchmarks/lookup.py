"""Time and extra peak memory of code lookup and of a training step, beside other projects.

``python benchmarks/lookup.py`` measures this project's quantizers, vector-quantize-pytorch,
diffusers' VectorQuantizer and the textbook formulas, each in its own process, and prints a
Markdown table. A training step is forward, backward and the quantizer's own rules, without the
network around it and without an optimizer. Projects that are not installed are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from peers import METHODS, measure

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
CASES = ("1024x256", "16384x8", "16384x256", "65536x32")


def main() -> None:
    """Measure what the flags ask for and print one table a task and case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--cases", nargs="+", default=CASES, metavar="KxD",
        help=f"codes x length of a code (default: {' '.join(CASES)})",
    )  # fmt: skip
    parser.add_argument("--tasks", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument(
        "--methods", nargs="+", metavar="WORD", help="only methods whose names hold one of these"
    )
    parser.add_argument(
        "--rows", type=int, default=4096, metavar="N",
        help="latents at once, a multiple of 256 (default: 4096, 16 pictures of 16x16)",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # one measurement, in its own process
    flags = parser.parse_args()
    if flags.measure:
        print(json.dumps(measure(json.loads(flags.measure))))
        return
    if flags.rows < 256 or flags.rows % 256:
        parser.error(f"--rows must be a multiple of 256, got {flags.rows}")
    cases = [_case(text, parser) for text in flags.cases]

    figures = []
    for size, dim in cases:
        for task in flags.tasks:
            found = []
            for name in METHODS[task]:
                if flags.methods and not any(word in name for word in flags.methods):
                    continue
                job = {
                    "task": task, "method": name, "size": size, "dim": dim, "rows": flags.rows,
                    "repeats": flags.repeats, "threads": flags.threads, "device": flags.device,
                }  # fmt: skip
                found.append(job | _in_own_process(job))
            _print_table(f"{task}: {size:,} codes of {dim}, {flags.rows:,} latents", found)
            figures += found
    if flags.out is not None:
        import torch

        processor = platform.processor() or platform.machine()
        machine = {"processor": processor, "torch": torch.__version__}
        if flags.device == "cuda":
            machine["gpu"] = torch.cuda.get_device_name()
        flags.out.write_text(
            json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n", encoding="utf-8"
        )


def _case(text: str, parser: argparse.ArgumentParser) -> tuple[int, int]:
    try:
        size, dim = (int(part) for part in text.split("x"))
    except ValueError:
        parser.error(f"--cases must be like 1024x256, got {text}")
    if size < 1 or dim < 1:
        parser.error(f"--cases must be like 1024x256, got {text}")
    return size, dim


def _in_own_process(job: dict) -> dict:
    """Figures of one measurement, or why there are none."""
    done = subprocess.run(
        [sys.executable, str(HERE), "--measure", json.dumps(job)], capture_output=True, text=True
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = done.stderr.strip().splitlines()[-1:] or [f"ended by signal {-done.returncode}"]
    return {"failed": reason[0]}


def _print_table(title: str, found: list[dict]) -> None:
    print(f"\n**{title}**\n\n| | ms | extra peak MB |\n|---|---|---|")
    for row in found:
        if "failed" in row:
            print(f"| {row['method']} | {row['failed'][:80]} | |")
        else:
            print(f"| {row['method']} | {row['ms']:.1f} | {row['extra_mb']:.0f} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

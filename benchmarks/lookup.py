"""Time and extra peak memory of code lookup and of a training step, beside other projects.

``python benchmarks/lookup.py`` measures this project's quantizers, vector-quantize-pytorch,
diffusers' VectorQuantizer and the textbook formulas, each in its own process, and prints Markdown
tables. A training step consists of forward, backward and the quantizer's own update rules, without
the network around it and without an optimizer. The tasks "codes" (eval mode) and "training-codes"
compare residual codes of four levels, product codes of four groups, and BSQ with
vector-quantize-pytorch. Projects that are not installed are left out. The matrices of the textbook
formulas need about 12 GB with 65,536 codes and 4,096 latents, and half of that with --rows 2048.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers import METHODS, OWN, PAIRS, measure

CASES = ("1024x256", "16384x8", "16384x256", "65536x32")
# Loaded once, by the server from which every measuring process is forked.
PEERS = {
    "diffusers": "diffusers.models.autoencoders.vae",
    "vector-quantize-pytorch": "vector_quantize_pytorch",
}


def main() -> None:
    """Run the requested measurements and print one table per task and case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--cases",
        nargs="+",
        default=CASES,
        metavar="KxD",
        help=f"number of codes x length of a code (default: {' '.join(CASES)})",
    )
    parser.add_argument("--tasks", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument(
        "--methods", nargs="+", metavar="WORD", help="only methods whose names contain one of these"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=4096,
        metavar="N",
        help="latents per call, a multiple of 256 (default: 4096, 16 pictures of 16x16)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="calls after the first; the fastest counts (3)",
    )
    parser.add_argument(
        "--seconds", type=float, default=5, help="no further call after this time (default: 5)"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write the tables (.md) or the figures as JSON (any other name)",
    )
    flags = parser.parse_args()
    if flags.rows < 256 or flags.rows % 256:
        parser.error(f"--rows must be a multiple of 256, got {flags.rows}")
    cases = [_case(text, parser) for text in flags.cases]

    asked = [
        name
        for task in flags.tasks
        for name in METHODS[task]
        if not flags.methods or any(word in name for word in flags.methods)
    ]
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        peers = [module for word, module in PEERS.items() if any(word in n for n in asked)]
        context.set_forkserver_preload(["torch", *peers])

    figures, tables = [], []
    for size, dim in cases:
        for task in flags.tasks:
            found = []
            for name in METHODS[task]:
                if name not in asked:
                    continue
                if name.endswith("plain") and flags.device == "cpu":
                    continue  # a CPU has only this path
                job = {
                    "task": task, "method": name, "size": size, "dim": dim, "rows": flags.rows,
                    "repeats": flags.repeats, "seconds": flags.seconds,
                    "threads": flags.threads, "device": flags.device,
                }  # fmt: skip
                found.append(job | _in_own_process(context, job))
            title = f"{task}: {size:,} codes of {dim}, {flags.rows:,} latents"
            tables.append("\n".join([_table(title, found), *_ratios(task, found)]))
            print("\n" + tables[-1], flush=True)
            figures += found
    if flags.out is not None:
        machine = _machine(flags)
        if flags.out.suffix == ".md":
            described = ", ".join(f"{key} {value}" for key, value in machine.items())
            command = " ".join(["python benchmarks/lookup.py", *sys.argv[1:]])
            text = "\n\n".join([f"`{command}`", f"Measured with {described}.", *tables])
        else:
            text = json.dumps({"machine": machine, "figures": figures}, indent=2)
        flags.out.write_text(text + "\n", encoding="utf-8")


def _case(text: str, parser: argparse.ArgumentParser) -> tuple[int, int]:
    try:
        size, dim = (int(part) for part in text.split("x"))
    except ValueError:
        parser.error(f"--cases must have the form 1024x256, got {text}")
    if size < 1 or dim < 1:
        parser.error(f"--cases must have the form 1024x256, got {text}")
    return size, dim


def _machine(flags: argparse.Namespace) -> dict[str, str | int]:
    import torch

    processor = platform.processor() or platform.machine()
    machine = {"processor": processor, "threads": flags.threads, "torch": torch.__version__}
    if flags.device == "cuda":
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def _in_own_process(context: BaseContext, job: dict) -> dict:
    """Return the figures of one measurement, or the reason for a failure as "failed"."""
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measure_into, args=(there, job))
    process.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:  # it ended without a result
        process.join()
        found = {"failed": f"ended with exit code {process.exitcode}"}
    process.join()
    return found


def _measure_into(pipe: Connection, job: dict) -> None:
    try:
        pipe.send(measure(job))
    except (ImportError, RuntimeError, ValueError, MemoryError) as error:
        pipe.send({"failed": " ".join(f"{type(error).__name__}: {error}".split())[:80]})


def _table(title: str, found: list[dict]) -> str:
    lines = [f"**{title}**", "", "| | ms | extra peak MB |", "|---|---|---|"]
    for row in found:
        if "failed" in row:
            lines.append(f"| {row['method']} | {row['failed'][:80]} | |")
        else:
            lines.append(f"| {row['method']} | {row['ms']:.1f} | {row['extra_mb']:.0f} |")
    return "\n".join(lines)


def _ratios(task: str, found: list[dict]) -> list[str]:
    """Return sentences that compare ours with the others; none if one side was not measured."""
    by_name = {row["method"]: row for row in found if "failed" not in row}
    if task == "lookup":
        ours, textbook = by_name.get("regvq-studio"), by_name.get("textbook")
        rest = [row for name, row in by_name.items() if not name.startswith(("regvq", "textb"))]
        if not ours or not textbook or not rest:
            return []
        fastest = min(rest, key=lambda row: row["ms"])
        return [
            "",
            f"{fastest['ms'] / ours['ms']:.1f} times as fast as the fastest peer "
            f"({fastest['method']}), {textbook['ms'] / ours['ms']:.1f} times as fast as the "
            "textbook.",
        ]
    lines = []
    for name in PAIRS if task.endswith("codes") else ():
        ours = by_name.get(f"regvq-studio {name}")
        theirs = by_name.get(f"vector-quantize-pytorch {name}")
        if ours and theirs:
            share = max(ours["extra_mb"], 1) / max(theirs["extra_mb"], 1)
            lines.append(
                f"{name}: {theirs['ms'] / ours['ms']:.1f} times as fast as "
                f"vector-quantize-pytorch in 1/{1 / share:.1f} of its memory."
            )
    for name in OWN:
        ours, textbook = by_name.get(f"regvq-studio {name}"), by_name.get(f"textbook {name}")
        if ours and textbook:
            share = max(ours["extra_mb"], 1) / max(textbook["extra_mb"], 1)
            lines.append(
                f"{name}: {textbook['ms'] / ours['ms']:.1f} times as fast as the textbook in "
                f"1/{1 / share:.0f} of its memory."
            )
    return ["", " ".join(lines)] if lines else []


if __name__ == "__main__":
    main()

"""Time and memory of methods by several makers, each measured in its own process.

A benchmark has ``METHODS``: by kind (what is computed) and maker (who wrote it), a function that
builds one call of it from latents (B, D, 16, 16) and K. Every method is measured twice: alone, and
in the company of one busy process per core, as on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from statistics import median
from typing import Any

from company import CORES, company

from core.threads import wait_passively
from train.cli.common import extra_peak

Call = Callable[[], Any]
Build = Callable[[Any, int], Call]
Methods = dict[str, dict[str, Build]]
OURS, PEER = "regvq-studio", "vector-quantize-pytorch"
MARGIN = 1.05  # a time that is longer by less than this factor is not called slower
SLOW = 100.0  # ms, from which a method is measured in one process
PROCESSES = 3  # for the faster ones
PLACES = {"alone_ms": "ms", "company_ms": "ms, in company", "extra_mb": "MB"}
# Loaded once, by the server from which every measuring process is forked.
PRELOADED = {PEER: "vector_quantize_pytorch", "diffusers": "diffusers.models.autoencoders.vae"}


def run(module: str, title: str, cases: tuple[str, ...], description: str) -> None:
    """Measure the methods of ``module`` as the command's flags say, and print a table per case."""
    wait_passively()  # the measured processes inherit it
    methods: Methods = import_module(module).METHODS
    flags = _flags(methods, cases, description)
    flags.load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown"
    context = _context(flags.makers)
    figures, tables = [], []
    for size, dim in map(_case, flags.cases):
        jobs = [
            {
                "module": module, "kind": kind, "maker": maker, "size": size, "dim": dim,
                **{key: getattr(flags, key)
                   for key in ("rows", "repeats", "seconds", "threads", "device")},
            }
            for kind in flags.kinds for maker in methods[kind]
            if maker in flags.makers and not (flags.device == "cpu" and "Triton" in maker)
        ]  # fmt: skip
        found = in_turns(context, jobs)
        rows = [job | _named(row, "alone_ms") for job, row in zip(jobs, found, strict=True)]
        if flags.company:
            able = [row for row in rows if "failed" not in row]
            with company(flags.company):
                found = in_turns(context, able)
            for row, result in zip(able, found, strict=True):
                row["company_ms"] = result.get("ms")
        heading = f"{title}: {size:,} codes of {dim}, {flags.rows:,} latents"
        tables.append("\n".join(table(heading, rows)))
        print("\n" + tables[-1], flush=True)
        figures += rows
    for file in flags.out:
        file.write_text(_document(file, flags, figures, tables) + "\n", encoding="utf-8")


def _flags(methods: Methods, cases: tuple[str, ...], description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    makers = list(dict.fromkeys(maker for kind in methods.values() for maker in kind))
    add = parser.add_argument
    add(
        "--cases",
        nargs="+",
        default=cases,
        metavar="KxD",
        help=f"number of codes x length of a code (default: {' '.join(cases)})",
    )
    add(
        "--kinds",
        nargs="+",
        default=list(methods),
        choices=list(methods),
        metavar="KIND",
        help=f"some of {', '.join(methods)} (default: all)",
    )
    add(
        "--makers",
        nargs="+",
        default=makers,
        choices=makers,
        metavar="MAKER",
        help=f"some of {', '.join(makers)} (default: all)",
    )
    add(
        "--rows",
        type=int,
        default=2048,
        metavar="N",
        help="latents per call, a multiple of 256 (default: 2048, 8 pictures of 16x16)",
    )
    add("--repeats", type=int, default=300, help="most calls after the first (default: 300)")
    add(
        "--seconds",
        type=float,
        default=0.5,
        help="after the first timed call, none begins after this time (default: 0.5)",
    )
    add("--threads", type=int, default=CORES, help="CPU threads (default: one per core)")
    add(
        "--company",
        type=int,
        default=CORES,
        metavar="P",
        help="busy processes beside the second measurement (default: one per core; 0: none)",
    )
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--out", type=Path, nargs="+", default=[], metavar="FILE",
        help="also write the tables (.md) or the figures as JSON (any other name)")  # fmt: skip
    flags = parser.parse_args()
    if flags.rows < 256 or flags.rows % 256:
        parser.error(f"--rows must be a multiple of 256, got {flags.rows}")
    for text in flags.cases:
        try:
            _case(text)
        except ValueError:
            parser.error(f"--cases must have the form 1024x256, got {text}")
    return flags


def _case(text: str) -> tuple[int, int]:
    size, dim = (int(part) for part in text.split("x"))
    if size < 1 or dim < 1:
        raise ValueError(text)
    return size, dim


def _context(makers: list[str]) -> BaseContext:
    """Return a way to start processes that have torch and the makers' packages loaded."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", *(PRELOADED[m] for m in makers if m in PRELOADED)])
    return context


def in_turns(context: BaseContext, jobs: list[dict]) -> list[dict]:
    """Return the figures of each job in its own process; of fast ones, of the median process.

    Beside others, a call of some milliseconds depends on which core its threads are given first.
    The jobs take turns, so that a busy minute of the machine does not meet one of them alone.
    """
    found = [[in_own_process(context, job)] for job in jobs]
    for _ in range(PROCESSES - 1):
        for job, results in zip(jobs, found, strict=True):
            if results[0].get("ms", SLOW) < SLOW:
                results.append(in_own_process(context, job))
    return [_middle(results) for results in found]


def _middle(results: list[dict]) -> dict:
    """Return the result of median time with the memory of the first, or a failure, if any."""
    for result in results:
        if "failed" in result:
            return result
    middle = sorted(results, key=lambda result: result["ms"])[len(results) // 2]
    return middle | {"extra_mb": results[0]["extra_mb"]}


def in_own_process(context: BaseContext, job: dict) -> dict:
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
    except (ImportError, RuntimeError, ValueError, MemoryError, AssertionError) as error:
        pipe.send({"failed": " ".join(f"{type(error).__name__}: {error}".split())[:80]})


def measure(job: dict) -> dict:
    """Return the milliseconds of a call, the median, and the extra peak memory of the first in MB.

    The first call is not timed. One or more follow, at most ``repeats``; after the first of them,
    none begins after ``seconds``. Calls of a millisecond need many: they depend on whether a core
    is awake.
    """
    import torch

    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    build = import_module(job["module"]).METHODS[job["kind"]][job["maker"]]

    def built(rows: int, size: int) -> Call:
        torch.manual_seed(0)
        return build(torch.randn(rows // 256, job["dim"], 16, 16, device=device), size)

    built(256, 256)()  # loads the libraries
    call = built(job["rows"], job["size"])
    extra = _extra_memory(call, device)
    times: list[float] = []
    while not times or (len(times) < job["repeats"] and sum(times) < job["seconds"]):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return {"ms": 1e3 * median(times), "extra_mb": extra / 1e6, "calls": len(times)}


def _extra_memory(call: Call, device: Any) -> float:
    """Return the bytes by which a call raises the peak of memory over the use before it."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    return extra_peak(call)


def _named(row: dict, time_key: str) -> dict:
    return {time_key if key == "ms" else key: value for key, value in row.items()}


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
    lines += ["", *_sentences(by_kind, places)]
    lines += [f"{r['maker']} {r['kind']}: {r['failed']}" for r in rows if "failed" in r]
    return lines


def _sentences(by_kind: dict[str, dict[str, dict]], places: list[str]) -> list[str]:
    """Return, for each rival and figure, where ours is behind."""
    told = []
    for rival in (PEER, "diffusers", "textbook"):
        pairs = {k: (f[OURS], f[rival]) for k, f in by_kind.items() if OURS in f and rival in f}
        pairs = {k: pair for k, pair in pairs.items() if not any("failed" in row for row in pair)}
        if not pairs:
            continue
        for key, words in (("alone_ms", "alone"), ("company_ms", "in company")):
            if key not in places:
                continue
            ratios = {k: ours[key] / theirs[key] for k, (ours, theirs) in pairs.items()}
            behind = {k: ratio for k, ratio in ratios.items() if ratio > MARGIN}
            listed = ", ".join(f"{kind} ({ratio:.2f} times)" for kind, ratio in behind.items())
            told.append(f"Slower than {rival} {words}: {listed or 'nothing'}.")
    return told


def _document(file: Path, flags: argparse.Namespace, figures: list, tables: list[str]) -> str:
    import torch

    machine: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": flags.threads,
        "busy processes in company": flags.company,
        "load of the machine before": flags.load,
        "torch": torch.__version__,
    }
    if flags.device == "cuda":
        machine["gpu"] = torch.cuda.get_device_name()
    if file.suffix != ".md":
        return json.dumps({"machine": machine, "figures": figures}, indent=1)
    described = ", ".join(f"{key} {value}" for key, value in machine.items())
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return "\n\n".join([f"`{command}`", f"Measured with {described}.", *tables])

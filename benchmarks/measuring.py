"""Time and memory of methods by several makers, each measured in its own process.

A benchmark has ``METHODS``: by kind (what is computed) and maker (who wrote it), a function that
builds one call of it from latents (B, D, 16, 16) and K. Every method is measured twice: alone, and
in the company of one busy process per core, as on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from statistics import median
from typing import Any

from clock import machine
from company import CORES, company
from method_tables import OURS, PEER, ratios, table

from core.threads import wait_passively
from train.cli.common import extra_peak

Call = Callable[[], Any]
Build = Callable[[Any, int], Call]
Methods = dict[str, dict[str, Build]]
SLOW = 100.0  # ms, from which a method is measured in one process
PROCESSES = 3  # for the faster ones
# Loaded once, by the server from which every measuring process is forked.
PRELOADED = {PEER: "vector_quantize_pytorch", "diffusers": "diffusers.models.autoencoders.vae"}


def run(module: str, title: str, cases: tuple[str, ...], description: str) -> None:
    """Measure the methods of ``module`` as the command's flags say, and print a table per case."""
    wait_passively()  # the measured processes inherit it
    flags = _flags(import_module(module).METHODS, cases, description)
    described = machine(flags.threads)
    figures, tables = [], []
    for case in flags.cases:
        rows = measure_case(
            module, case, flags.kinds, flags.makers, rows=flags.rows, repeats=flags.repeats,
            seconds=flags.seconds, threads=flags.threads, device=flags.device, busy=flags.company,
        )  # fmt: skip
        tables.append(case_table(title, rows))
        print("\n" + tables[-1], flush=True)
        figures += rows
    for file in flags.out:
        file.write_text(_document(file, flags, described, figures, tables) + "\n", "utf-8")


def measure_case(
    module: str,
    case: str,
    kinds: Iterable[str] | None = None,
    makers: Iterable[str] | None = None,
    *,
    rows: int = 2048,
    repeats: int = 300,
    seconds: float = 0.5,
    threads: int = CORES,
    device: str = "cpu",
    busy: int = CORES,
    apart: bool = True,
    processes: int = PROCESSES,
) -> list[dict]:
    """Return the figures of each method of ``module``, alone and beside ``busy`` processes.

    ``case``: number and length of codes, "1024x256"; ``kinds`` and ``makers``: some of those of the
    module. ``apart``: each method in its own process, a fast one in ``processes``.
    """
    wait_passively()  # the measured processes inherit it
    methods: Methods = import_module(module).METHODS
    size, dim = _case(case)
    jobs = [
        {"module": module, "kind": kind, "maker": maker, "size": size, "dim": dim, "rows": rows,
         "repeats": repeats, "seconds": seconds, "threads": threads, "device": device}
        for kind in kinds or methods for maker in methods[kind]
        if (makers is None or maker in makers) and not (device == "cpu" and "Triton" in maker)
    ]  # fmt: skip
    context = _context(dict.fromkeys(job["maker"] for job in jobs)) if apart else None
    found = in_turns(context, jobs, processes)
    measured = [job | _named(row, "alone_ms") for job, row in zip(jobs, found, strict=True)]
    if busy:
        able = [row for row in measured if "failed" not in row]
        with company(busy):
            found = in_turns(context, able, processes)
        for row, result in zip(able, found, strict=True):
            row["company_ms"] = result.get("ms")
    for (kind, rival, key), ratio in ratios(measured).items():
        ours = next(row for row in measured if row["kind"] == kind and row["maker"] == OURS)
        ours[f"{key} over {rival}"] = ratio
    return measured


def case_table(title: str, rows: list[dict]) -> str:
    """Return the Markdown of the figures of a case."""
    first = rows[0]
    heading = f"{title}: {first['size']:,} codes of {first['dim']}, {first['rows']:,} latents"
    return "\n".join(table(heading, rows))


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


def _context(makers: Iterable[str]) -> BaseContext:
    """Return a way to start processes that have torch and the makers' packages loaded."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", *(PRELOADED[m] for m in makers if m in PRELOADED)])
    return context


def in_turns(
    context: BaseContext | None, jobs: list[dict], processes: int = PROCESSES
) -> list[dict]:
    """Return the figures of each job in its own process; of fast ones, of the median process.

    Beside others, a call of some milliseconds depends on which core its threads are given first.
    The jobs take turns, so that a busy minute of the machine does not meet one of them alone.
    """
    if context is None:
        return [_result(job) for job in jobs]
    found = [[in_own_process(context, job)] for job in jobs]
    for _ in range(processes - 1):
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
    pipe.send(_result(job))


def _result(job: dict) -> dict:
    try:
        return measure(job)
    except (ImportError, RuntimeError, ValueError, MemoryError, AssertionError) as error:
        return {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:80]}


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


def _document(
    file: Path, flags: argparse.Namespace, described: dict, figures: list, tables: list[str]
) -> str:
    described = {**described, "busy processes in company": flags.company}
    if flags.device == "cuda":
        import torch

        described["gpu"] = torch.cuda.get_device_name()
    if file.suffix != ".md":
        return json.dumps({"machine": described, "figures": figures}, indent=1)
    words = ", ".join(f"{key} {value}" for key, value in described.items())
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return "\n\n".join([f"`{command}`", f"Measured with {words}.", *tables])

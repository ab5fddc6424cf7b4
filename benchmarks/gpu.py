"""Everything that is to be known about a GPU in ten minutes: results, time and memory.

``python benchmarks/gpu.py --out gpu.json`` measures the card's limits, checks kernels, quantizers,
networks and samplers against the CPU and the fast paths against their plain twins, trains and
resumes runs, counts what makes the host wait, and measures the code search, training, sampling,
encoding and decoding beside those limits. Each section runs in its own process with a limit of
time: one that fails, hangs or breaks the GPU's context is reported, and the others still run.

``--tiny`` runs all of it on a CPU, with tiny sizes and in this process, to find mistakes in the
script before a GPU is at hand.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()

import gpu_checks  # noqa: E402
import gpu_speeds  # noqa: E402
from apart import call_apart  # noqa: E402
from clock import machine  # noqa: E402
from gpu_setup import Setup  # noqa: E402

SECTIONS = {
    "machine": (gpu_speeds.machine, 40),
    "kernels": (gpu_checks.kernels, 60),
    "quantizers": (gpu_checks.quantizers, 60),
    "networks": (gpu_checks.networks, 90),
    "runs": (gpu_checks.runs, 120),
    "waits": (gpu_checks.waits, 60),
    "lookup": (gpu_speeds.lookup, 60),
    "training": (gpu_speeds.training, 90),
    "shares": (gpu_speeds.shares, 90),
    "sampling": (gpu_speeds.sampling, 120),
    "coding": (gpu_speeds.coding, 60),
    "prior training": (gpu_speeds.prior_training, 60),
}
"""The sections and the seconds after which each is ended, in the order of their importance for what
follows: "machine" measures the limits that others are compared with."""
ALL = 585.0  # seconds, after which no section begins and the one that runs is ended


def measure(
    device: str = "cuda", sections: tuple[str, ...] = tuple(SECTIONS), tiny: bool = False,
    total: float = ALL,
) -> dict[str, Any]:  # fmt: skip
    """Return the rows of each section, with its seconds, or "failed" with the reason."""
    started, found = time.perf_counter(), {}
    limits: dict[str, float] = {}
    for name in sections:
        left = total - (time.perf_counter() - started)
        setup = Setup(device, tiny, limits)
        begun = time.perf_counter()
        if left < 1:
            result: dict[str, Any] = {"failed": f"the {total:.0f} s of all sections are over"}
        elif tiny:
            result = _section(name, setup)
        else:
            result = _in_own_process(name, setup, min(SECTIONS[name][1], left))
        limits = result.pop("limits", None) or limits
        found[name] = result | {"seconds": time.perf_counter() - begun}
        print(table(name, found[name]), flush=True)
    return {"machine": _machine(device), "limits": limits, "sections": found}


def _section(name: str, setup: Setup) -> dict[str, Any]:
    """Return the rows of a section, or the last line of its error as "failed"."""
    try:
        return {"rows": SECTIONS[name][0](setup), "limits": setup.limits}
    except Exception as error:  # any: the others are to run
        traceback.print_exc()
        return {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


_SECTION = "gpu:_section"


def _in_own_process(name: str, setup: Setup, limit: float) -> dict[str, Any]:
    try:
        return call_apart(_SECTION, at_most=limit, name=name, setup=setup)
    except RuntimeError as error:
        return {"failed": str(error).removeprefix(f"{_SECTION}: ")}


def _machine(device: str) -> dict[str, Any]:
    import torch

    found = machine() | {"device": device}
    if device != "cpu":
        found["gpu"] = torch.cuda.get_device_name()
        found["memory_gb"] = torch.cuda.get_device_properties(0).total_memory / 1e9
        found["cuda"] = torch.version.cuda
    return found


def table(name: str, result: dict[str, Any]) -> str:
    """Return a section as Markdown."""
    lines = [f"\n**{name}** ({result['seconds']:.0f} s)", ""]
    if "failed" in result:
        return "\n".join([*lines, f"FAILED: {result['failed']}"])
    lines += ["| | | target | |", "|---|---:|---|---|"]
    for row in result["rows"]:
        target = row.get("target", "")
        if target and not row["ok"]:
            target = f"**MISSED: {target}**"
        number = f"{row['value']:,.4g}" if abs(row["value"]) < 1000 else f"{row['value']:,.0f}"
        lines.append(f"| {row['what']} | {number} {row['unit']} | {target} | {row['note']} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the sections and write the figures; exit with 1 if a section failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--sections", nargs="+", default=list(SECTIONS), choices=list(SECTIONS), metavar="NAME",
        help=f"some of {', '.join(SECTIONS)} (default: all)")  # fmt: skip
    add("--device", help="cuda or cpu (default: cuda, with --tiny cpu)")
    add("--tiny", action="store_true", help="tiny sizes, on a CPU: to see that it runs")
    add("--seconds", type=float, default=ALL, help=f"for all sections (default: {ALL:.0f})")
    add("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    flags = parser.parse_args(arguments)
    device = flags.device or ("cpu" if flags.tiny else "cuda")
    found = measure(device, tuple(flags.sections), flags.tiny, flags.seconds)
    if flags.out is not None:
        flags.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sections = found["sections"]
    missed = [r["what"] for each in sections.values() for r in each.get("rows", ())
              if not r.get("ok", True)]  # fmt: skip
    failed = [name for name, each in sections.items() if "failed" in each]
    print(f"\n{len(missed)} targets missed; failed sections: {', '.join(failed) or 'none'}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

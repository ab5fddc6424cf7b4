"""The study's results for the page: runs, the figures they can be drawn by, and the sweeps.

Reads ``docs/study/results.json``, which ``python train/study.py report`` writes. Of its ``runs``
the page takes name, label, group, method, kind, note, codes, seed and the figures of AXES, of its
``groups`` the titles, of its ``sweeps`` the series. Nothing is drawn that is not in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from regvq.paths import ROOT

from ..ui.errors import in_a_sentence

RESULTS = ROOT / "docs" / "study" / "results.json"
MOST_RUNS = 400
"""More than this is no file of the study."""

# The figures of a run and how the page shows them; better: 1 more is, -1 less is.
AXES: tuple[dict[str, Any], ...] = (
    {"key": "utilization", "label": "Utilization", "unit": "%", "better": 1},
    {"key": "perplexity", "label": "Perplexity", "better": 1, "log": True},
    {"key": "psnr", "label": "PSNR", "unit": "dB", "better": 1},
    {"key": "ssim", "label": "SSIM", "better": 1},
    {"key": "feature_distance", "label": "Feature distance", "better": -1},
    {"key": "fd", "label": "Fréchet distance", "better": -1},
    {"key": "generation_fd", "label": "Fréchet distance, generated", "better": -1},
    {"key": "step_ms", "label": "Time a step", "unit": "ms", "better": -1},
    {"key": "peak_mb", "label": "Memory of a step", "unit": "MB", "better": -1},
    {"key": "codes", "label": "Codebook size", "unit": "codes", "better": 0, "log": True},
)
FAMILIES = {
    "vq": "VQ",
    "gumbel": "Gumbel",
    "regvq": "Reg-VQ",
    "simvq": "SimVQ",
    "nsvq": "NSVQ",
    "fixed": "FSQ, LFQ, IBQ",
}


def family(method: str, outside: bool = False) -> str:
    """The family of a method of the study; a key of FAMILIES."""
    for prefix in ("regvq", "simvq", "nsvq", "gumbel"):
        if method.removeprefix("outside-").startswith(prefix):
            return prefix
    return "fixed" if method.startswith(("fsq", "lfq", "ibq")) and not outside else "vq"


def number(value: Any) -> float | None:
    """A finite number, or None."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None


def page_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """``results.json`` as what the charts draw. Raises ValueError if it is of another kind."""
    found = results.get("runs")
    if not isinstance(found, list) or len(found) > MOST_RUNS:
        raise ValueError("it has no list of runs")
    runs = [_run(one) for one in found if isinstance(one, Mapping)]
    runs = [run for run in runs if run["values"]]
    present = {key for run in runs for key in run["values"]}
    axes = [{"unit": "", "log": False, **axis} for axis in AXES if axis["key"] in present]
    shared, groups = results.get("shared"), results.get("groups")
    return {
        "runs": runs,
        "axes": axes,
        "families": FAMILIES,
        "features": str(shared.get("features", "")) if isinstance(shared, Mapping) else "",
        "parts": {
            str(one.get("name")): str(one.get("title"))
            for one in (groups if isinstance(groups, list) else ())
            if isinstance(one, Mapping)
        },
        "sweeps": _sweeps(results.get("sweeps"), {run["name"] for run in runs}),
    }


def _run(one: Mapping[str, Any]) -> dict[str, Any]:
    known = {axis["key"]: number(one.get(axis["key"])) for axis in AXES}
    values = {key: value for key, value in known.items() if value is not None}
    if "utilization" in values:
        values["utilization"] *= 100
    method, outside = str(one.get("method", "")), one.get("kind") == "outside"
    return {
        "name": str(one.get("name", "")),
        "label": str(one.get("label") or one.get("name") or ""),
        "note": str(one.get("note") or ""),
        "group": str(one.get("group", "")),
        "method": method,
        "family": family(method, outside),
        "outside": outside,
        "seed": int(number(one.get("seed")) or 0),
        "values": values,
    }


def _sweeps(found: Any, names: set[str]) -> list[dict[str, Any]]:
    """The sweeps as lines of (value, run) by method; points whose run is missing are left out."""
    made = []
    for sweep in found if isinstance(found, list) else ():
        lines = {}
        points = sweep.get("series") if isinstance(sweep, Mapping) else None
        for method, line in points.items() if isinstance(points, Mapping) else ():
            pairs = [
                (number(point[0]), point[1])
                for point in line
                if isinstance(point, list | tuple) and len(point) >= 2
            ]
            known = [(x, run) for x, run in pairs if x is not None and run in names]
            if len(known) > 1:
                lines[str(method)] = sorted(known)
        if lines:
            made.append(
                {
                    "name": str(sweep.get("name", "")),
                    "title": str(sweep.get("title", "")),
                    "axis": str(sweep.get("axis", "")),
                    "lines": [
                        {"method": method, "family": family(method), "points": line}
                        for method, line in lines.items()
                    ],
                }
            )
    return made


@lru_cache(maxsize=2)
def _read(file: Path, written: int) -> dict[str, Any]:
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(results, Mapping):
            raise ValueError("it holds no JSON object")
        page = page_of(results)
    except (OSError, ValueError) as error:
        return {"problem": f"{file.name} of the study cannot be read: {error}."}
    return page if page["runs"] else {"empty": True}


@in_a_sentence
def show() -> dict[str, Any]:
    """What the charts draw: ``page_of`` the results, ``empty`` without any, or a ``problem``."""
    try:
        written = RESULTS.stat().st_mtime_ns
    except OSError:
        return {"empty": True}
    return _read(RESULTS, written)

"""The study's results for the page: the runs, the figures that can be axes, and the sweeps.

Reads ``docs/study/results.json``, which ``python train/study.py report`` writes. Of its ``runs``
the page uses name, label, group, method, kind, note, codes, seed and the figures of AXES, of its
``groups`` the titles, of its ``sweeps`` the series. The page shows nothing that is not in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from regvq.paths import IN_TREE, ROOT

from .validation import finite

RESULTS = ROOT / "docs" / "study" / "results.json"
MOST_RUNS = 400
"""A file with more runs is not a file of the study."""
NOT_RUN = (
    "The study has not been run here yet. The command python train/study.py run trains every "
    "quantizer on the same pictures; its results are shown here."
)
NOT_INSTALLED = (
    "The study's results are not part of the installation; they are in the project's source tree, "
    "in docs/study."
)

# The figures of a run and how the page shows them. better: 1 = higher is better, -1 = lower is.
AXES: tuple[dict[str, Any], ...] = (
    {"key": "utilization", "label": "Utilization", "unit": "%", "better": 1},
    {"key": "perplexity", "label": "Perplexity", "better": 1, "log": True},
    {"key": "psnr", "label": "PSNR", "unit": "dB", "better": 1},
    {"key": "ssim", "label": "SSIM", "better": 1},
    {"key": "feature_distance", "label": "Feature distance", "better": -1},
    {"key": "fd", "label": "Fréchet distance", "better": -1},
    {"key": "generation_fd", "label": "Fréchet distance, generated", "better": -1},
    {"key": "step_ms", "label": "Time per step", "unit": "ms", "better": -1},
    {"key": "peak_mb", "label": "Memory per step", "unit": "MB", "better": -1},
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


def family_of(method: str, external: bool = False) -> str:
    """Return the family of a method of the study; a key of FAMILIES."""
    for prefix in ("regvq", "simvq", "nsvq", "gumbel"):
        if method.removeprefix("outside-").startswith(prefix):
            return prefix
    return "fixed" if method.startswith(("fsq", "lfq", "ibq")) and not external else "vq"


def study_view() -> dict[str, Any]:
    """Return what the charts draw: ``results_view`` of the results, an ``empty`` page's sentence
    without results, or a ``problem``."""
    try:
        written = RESULTS.stat().st_mtime_ns
    except OSError:
        return {"empty": NOT_RUN if IN_TREE else NOT_INSTALLED}
    return _read(RESULTS, written)


@lru_cache(maxsize=2)
def _read(file: Path, written: int) -> dict[str, Any]:
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(results, Mapping):
            raise ValueError("it holds no JSON object")
        view = results_view(results)
    except (OSError, ValueError) as error:
        return {"problem": f"{file.name} of the study cannot be read: {error}."}
    return view if view["runs"] else {"empty": NOT_RUN}


def results_view(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``results.json`` as what the charts draw. Raises ValueError for any other JSON."""
    found = results.get("runs")
    if not isinstance(found, list) or len(found) > MOST_RUNS:
        raise ValueError("it has no list of runs")
    runs = [_run_view(one) for one in found if isinstance(one, Mapping)]
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
        "sweeps": _sweep_views(results.get("sweeps"), {run["name"] for run in runs}),
    }


def _run_view(one: Mapping[str, Any]) -> dict[str, Any]:
    known = {axis["key"]: finite(one.get(axis["key"])) for axis in AXES}
    values = {key: value for key, value in known.items() if value is not None}
    if "utilization" in values:
        values["utilization"] *= 100
    method, external = str(one.get("method", "")), one.get("kind") == "outside"
    return {
        "name": str(one.get("name", "")),
        "label": str(one.get("label") or one.get("name") or ""),
        "note": str(one.get("note") or ""),
        "group": str(one.get("group", "")),
        "method": method,
        "family": family_of(method, external),
        "external": external,
        "seed": int(finite(one.get("seed")) or 0),
        "values": values,
    }


def _sweep_views(found: Any, names: set[str]) -> list[dict[str, Any]]:
    """Return the sweeps as lines of (value, run) by method, without points of unknown runs."""
    made = []
    for sweep in found if isinstance(found, list) else ():
        lines = {}
        points = sweep.get("series") if isinstance(sweep, Mapping) else None
        for method, line in points.items() if isinstance(points, Mapping) else ():
            pairs = [
                (finite(point[0]), point[1])
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
                        {"method": method, "family": family_of(method), "points": line}
                        for method, line in lines.items()
                    ],
                }
            )
    return made

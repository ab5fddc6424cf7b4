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
from typing import TYPE_CHECKING, Any

from regvq.paths import IN_TREE, ROOT

from .validation import finite

if TYPE_CHECKING:
    from regvq.plots.study import Figures, Run

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
    {"key": "feature_distance", "label": "Feature distance (SqueezeNet)", "better": -1},
    {"key": "fd", "label": "Fréchet distance (SqueezeNet)", "better": -1},
    {"key": "lpips_alex", "label": "LPIPS (AlexNet)", "better": -1},
    {"key": "lpips_vgg", "label": "LPIPS (VGG-16)", "better": -1},
    {"key": "alexnet_fd", "label": "Fréchet distance (AlexNet)", "better": -1},
    {"key": "generation_fd", "label": "Fréchet distance, generated (SqueezeNet)", "better": -1},
    {"key": "step_ms", "label": "Time per step", "unit": "ms", "better": -1},
    {"key": "peak_mb", "label": "Memory per step", "unit": "MB", "better": -1},
    {"key": "codes", "label": "Codebook size", "unit": "codes", "better": 0, "log": True},
)
DEFAULTS = ("perplexity", "lpips_vgg")
"""The figures of the horizontal and of the vertical axis at first: LPIPS on VGG-16, because no run
was trained on its features."""
TRAINED_ON = ("feature_distance", "fd", "generation_fd")
"""Distances on the features of the runs' perceptual loss, which a line under the chart names."""


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


def figures_of(view: Mapping[str, Any]) -> dict[str, Figures]:
    """Return the figures that the runs of a view have, as axes, by key."""
    from regvq.plots.study import Figures

    forms = {"psnr": ".2f", "utilization": ".1f", "ssim": ".3f", "codes": ",.0f"}
    return {
        axis["key"]: Figures(**axis, form=forms.get(axis["key"], ".4g")) for axis in view["axes"]
    }


def runs_of(view: Mapping[str, Any], group: str | None = None) -> list[Run]:
    """Return the runs of a view; those of one group unless that is None."""
    from regvq.plots.study import Run

    return [
        Run(one["name"], one["label"], one["family"], one["values"], one["external"], one["method"])
        for one in view["runs"]
        if group in (None, one["group"])
    ]


def groups_of(view: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of the groups of runs by name, the main one first."""
    found = dict.fromkeys(one["group"] for one in view["runs"])
    names = sorted(found, key=lambda name: name != "main")
    return {name: view["parts"].get(name) or name for name in names}


def first_axes(view: Mapping[str, Any]) -> tuple[str, str]:
    """Return the keys of the axes that are shown at first."""
    known = [axis["key"] for axis in view["axes"]]
    across = DEFAULTS[0] if DEFAULTS[0] in known else known[0]
    return across, next((one for one in (DEFAULTS[1], "psnr") if one in known), known[-1])


def sweep_lines(view: Mapping[str, Any], sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Return the (value, run) pairs of a sweep by the label of its method."""
    runs = {run.name: run for run in runs_of(view)}
    return {
        runs[line["method"]].label if line["method"] in runs else line["method"]: [
            (value, runs[name]) for value, name in line["points"]
        ]
        for line in sweep["lines"]
    }


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
        "features": str(shared.get("features", "")) if isinstance(shared, Mapping) else "",
        "parts": {
            str(one.get("name")): str(one.get("title"))
            for one in (groups if isinstance(groups, list) else ())
            if isinstance(one, Mapping)
        },
        "sweeps": _sweep_views(results.get("sweeps"), {run["name"] for run in runs}),
    }


def _run_view(one: Mapping[str, Any]) -> dict[str, Any]:
    from regvq.plots.study import family_of

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
    from regvq.plots.study import family_of

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

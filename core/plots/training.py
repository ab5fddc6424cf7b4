"""The curves of a run's training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.run_log import read_log
from .style import make_figure, method_inks, plain_axis

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("losses", ("loss", "total", "l1", "l2", "reconstruction", "perceptual", "adversarial",
                "discriminator", "commitment", "codebook", "prior", "quantizer", "ce", "kl")),
    ("held out", ("validation_", "held_out_")),
    ("codebook", ("utilization", "perplexity", "codes", "used", "dead")),
    ("quality", ("psnr", "ssim", "accuracy", "bits")),
    ("speed and rate", ("lr", "rate", "seconds", "pictures_per", "images_per", "steps_per",
                        "grad")),
)  # fmt: skip
"""The panels, and the beginnings of the names of the figures that they show; others go to the
last panel."""
MOST_POINTS = 2000
"""Points of one curve; a longer one is shown by the mean of consecutive rows."""


def plot_training(run: str | Path | Curves, figures: Sequence[str] | None = None) -> Figure:
    """Return the curves of a run: the figures of its ``log.jsonl`` by step, a panel per subject.

    run: the run's folder, or what ``read_log`` returned. figures: the names to show, by default all
    but those that never change. Raises FileNotFoundError for a folder without a log, and ValueError
    if it holds none of the figures.
    """
    curves = run if isinstance(run, Mapping) else read_log(run)
    known = {
        name: curve
        for name, curve in curves.items()
        if (name in figures if figures is not None else len(curve[0]) > 1 and np.ptp(curve[1]) > 0)
    }
    if not known:
        raise ValueError("The log holds no figures that change; train for more steps.")
    panels = _panels(known)
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    gap = 0.09 if len(panels) > 1 else 0
    each = (1 - gap * (len(panels) - 1)) / len(panels)
    for number, (title, names) in enumerate(panels):
        axis = "" if number == 0 else str(number + 1)
        top = 1 - number * (each + gap)
        colors = method_inks(len(names))
        positive = all((known[name][1] > 0).all() for name in names)
        wide = positive and _spread(known[name][1] for name in names) > 50
        layout[f"yaxis{axis}"] = plain_axis(
            title, domain=[max(0, top - each), top], type="log" if wide else "linear"
        )
        for name, color in zip(names, colors, strict=True):
            steps, values = _thinned(*known[name])
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines" if len(steps) > 60 else "lines+markers",
                    "name": name,
                    "x": steps,
                    "y": values,
                    "yaxis": f"y{axis}",
                    "legendgroup": title,
                    "legendgrouptitle": {"text": title},
                    "line": {"color": color, "width": 1.8},
                    "marker": {"size": 4},
                    "hovertemplate": "%{y:.5g}<extra>%{fullData.name}</extra>",
                }
            )
    last = "" if len(panels) == 1 else str(len(panels))
    steps = max(int(curve[0][-1]) for curve in known.values())
    return make_figure(
        traces,
        hovermode="x unified",
        xaxis=plain_axis("step", anchor=f"y{last}", hoverformat=",d"),
        height=160 + 170 * len(panels),
        legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"},
        meta={"about": f"{len(known)} figures of a run by step, up to step {steps:,}"},
        **layout,
    )


def _panels(known: Curves) -> list[tuple[str, list[str]]]:
    """Return the titles of the panels that have figures, with their names."""
    found: dict[str, list[str]] = {}
    for name in known:
        held = name.startswith(_PANELS[1][1])
        title = (
            "held out"
            if held
            else next(
                (title for title, starts in _PANELS if any(start in name for start in starts)),
                "other",
            )
        )
        found.setdefault(title, []).append(name)
    order = [title for title, _ in _PANELS]
    return sorted(
        found.items(),
        key=lambda item: (
            item[0] == "other",
            item[0] not in order,
            order.index(item[0]) if item[0] in order else 0,
        ),
    )


def _spread(columns: Any) -> float:
    values = np.concatenate(list(columns))
    low = float(values.min())
    return float(values.max()) / low if low > 0 else math.inf


def _thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the last step and the mean of consecutive rows, at most MOST_POINTS of them."""
    by = math.ceil(len(steps) / MOST_POINTS)
    if by == 1:
        return steps, values
    starts = np.arange(0, len(steps), by)
    counts = np.diff(np.append(starts, len(steps)))
    return steps[starts + counts - 1], np.add.reduceat(values, starts) / counts

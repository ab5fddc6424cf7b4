"""The figures of priors: bits per token, and what a judge recognizes in their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .style import ink, make_figure, plain_axis

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_KINDS = (
    ("drawn", "drawn by the prior", "accent"),
    ("reconstructed", "reconstructed by its tokenizer", "warm"),
    ("real", "real pictures", "ink-soft"),
)


def bits_of(metrics: Mapping[str, Any]) -> float | None:
    """Return the bits per token of a prior's ``metrics.json``, None if it has none."""
    known = (metrics.get(name) for name in ("bits_per_token", "bits_with_map"))
    return next((float(one) for one in known if isinstance(one, int | float)), None)


def plot_bits(
    metrics: Mapping[str, Mapping[str, Any]], uniform: Mapping[str, float] | None = None
) -> Figure:
    """Return the bits per token of several priors as bars, fewer being better.

    metrics: each prior's ``metrics.json`` by its name; those without bits are left out. uniform:
    log2 of the codebook's size by the prior's name, the bits of a guess, drawn as a line.
    Raises ValueError if none has any.
    """
    bits = {name: found for name, one in metrics.items() if (found := bits_of(one)) is not None}
    if not bits:
        raise ValueError("None of the priors states its bits per token.")
    names = sorted(bits, key=lambda name: bits[name])
    guess = uniform or {}
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "stems",
            "x": [one for name in names for one in (0, bits[name], None)],
            "y": [one for name in names for one in (name, name, None)],
            "line": {"color": ink("accent"), "width": 12},
            "hoverinfo": "skip",
            "showlegend": False,
            "meta": {"table": False},
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "name": "bits per token",
            "y": names,
            "x": [bits[name] for name in names],
            "marker": {"color": ink("accent"), "size": 12, "symbol": "square"},
            "text": [f"  {bits[name]:.2f}" for name in names],
            "textposition": "middle right",
            "hovertemplate": "%{y}: %{x:.3f} bits per token<extra></extra>",
        },
    ]
    if guess:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "a uniform guess",
                "y": [name for name in names if name in guess],
                "x": [guess[name] for name in names if name in guess],
                "marker": {
                    "symbol": "line-ns-open",
                    "size": 16,
                    "color": ink("warm"),
                    "line": {"width": 2},
                },
                "hovertemplate": "%{y}: %{x:.2f} bits for a uniform guess<extra></extra>",
            }
        )
    return make_figure(
        traces,
        xaxis=plain_axis("bits per token, lower is better", rangemode="tozero"),
        yaxis=plain_axis(autorange="reversed"),
        showlegend=bool(guess),
        height=110 + 42 * len(names),
        meta={"about": "Bits per token of " + ", ".join(names)},
    )


def plot_attributes(metrics: Mapping[str, Any]) -> Figure:
    """Return the share of captions' statements that a judge recognizes, in percent, by subject.

    metrics: a prior's ``metrics.json`` with ``questions``. A row per subject, with a mark for the
    prior's pictures, for the same pictures reconstructed by its tokenizer, and for real ones.
    Raises ValueError if it has none.
    """
    questions = metrics.get("questions")
    if not isinstance(questions, Mapping) or not questions:
        raise ValueError("The prior's metrics hold no answers to questions.")
    subjects = sorted(questions, key=lambda one: -float(questions[one].get("drawn") or 0.0))
    traces = []
    for kind, name, color in _KINDS:
        known = [one for one in subjects if isinstance(questions[one].get(kind), int | float)]
        if known:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "y": known,
                    "x": [100 * questions[one][kind] for one in known],
                    "marker": {
                        "color": ink(color),
                        "size": 10 if kind == "drawn" else 9,
                        "symbol": "circle" if kind == "drawn" else f"{_symbol(kind)}-open",
                    },
                    "hovertemplate": "%{y}: %{x:.1f} %<extra>%{fullData.name}</extra>",
                }
            )
    return make_figure(
        traces,
        xaxis=plain_axis("recognized, %", range=[-3, 103], side="top"),
        yaxis=plain_axis(autorange="reversed", dtick=1),
        legend={"y": -0.02},
        height=120 + 20 * len(subjects),
        meta={"about": f"Share of statements recognized by a judge, for {len(subjects)} subjects"},
    )


def _symbol(kind: str) -> str:
    return {"reconstructed": "diamond", "real": "square"}[kind]

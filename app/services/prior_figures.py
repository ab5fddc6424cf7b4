"""The charts of priors: bits per token of all, and what a judge recognizes in one's pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def bits_figure() -> Figure | None:
    """Return the bits per token of all priors; None if none states them."""
    from regvq.bundles.bundle import list_bundles
    from regvq.errors import CheckpointError
    from regvq.plots import plot_bits

    metrics: dict[str, Any] = {}
    sizes: dict[str, float] = {}
    for bundle in list_bundles(kind="prior"):
        try:
            metrics[bundle.name] = bundle.metrics
            size = int(bundle.config["prior"]["codebook_size"])
        except (CheckpointError, KeyError, TypeError, ValueError):
            continue
        sizes[bundle.name] = math.log2(size)
    try:
        return plot_bits(metrics, sizes)
    except ValueError:
        return None


def attribute_figure(name: Any) -> Figure | None:
    """Return what a judge recognizes in a prior's pictures; None for one without such figures."""
    from regvq.bundles.bundle import list_bundles
    from regvq.plots import plot_attributes

    found = next((one for one in list_bundles(kind="prior") if one.name == name), None)
    try:
        return None if found is None else plot_attributes(found.metrics)
    except ValueError:
        return None

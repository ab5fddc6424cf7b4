"""The change of a codebook over training, from a bundle's history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .checkpoints import TokenizerHandle

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NO_HISTORY = (
    "This checkpoint stores no training history. Tokenizers trained with train/run.py store one: "
    "usage and the movement of each code at every save."
)


def drift_figure(handle: TokenizerHandle, code: Any = None) -> Figure | None:
    """Return the chart of a bundle's history, with the line of ``code``; None without one."""
    from regvq.analysis.history import history_of
    from regvq.plots import plot_drift

    history = history_of(handle.bundle.atlas)
    if history is None:
        return None
    return plot_drift(history, code if isinstance(code, int) else None)

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

ONE_SAVE = (
    "This checkpoint was saved once in its training, at step {step:,}: with {used:,} of {size:,} "
    "codes in use. The change shows from the second save on."
)


def drift_figure(handle: TokenizerHandle, code: Any = None) -> Figure | str:
    """Return the chart of a bundle's history, with the line of ``code``; a sentence where the
    history has fewer than two saves."""
    from regvq.analysis.history import history_of
    from regvq.plots import plot_drift

    history = history_of(handle.bundle.atlas)
    if history is None:
        return NO_HISTORY
    if len(history.steps) == 1:
        used, size = int(history.used[0]), history.counts.shape[1]
        return ONE_SAVE.format(step=int(history.steps[0]), used=used, size=size)
    return plot_drift(history, code if isinstance(code, int) else None)

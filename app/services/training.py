"""The training curves of a checkpoint that belongs to a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checkpoints import TokenizerHandle

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NO_LOG = (
    "This checkpoint comes without the log of its training. The curves of a run appear here when "
    "its own bundle, runs/NAME, is the checkpoint."
)


def training_figure(handle: TokenizerHandle) -> Figure | None:
    """Return the curves of the run to which a bundle belongs; None without a log beside it."""
    from regvq.analysis.run_log import LOG
    from regvq.plots import plot_training

    path = handle.bundle.path
    for folder in (path, path.parent) if path.name == "bundle" else (path,):
        if (folder / LOG).is_file():
            try:
                return plot_training(folder)
            except (OSError, ValueError):
                return None  # the run has just begun
    return None

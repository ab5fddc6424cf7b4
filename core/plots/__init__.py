"""Charts of tokenizers, priors and runs as Plotly figures, the same ones that the explorer shows.

```python
from regvq.plots import plot_code_map, plot_training, plot_usage

plot_usage("checkpoints/photos-regvq").show()
plot_code_map("checkpoints/photos-regvq", color="norm").show()
plot_training("runs/photos-regvq").show()
```

They need the extra ``plots``; Plotly is imported when the first figure is built. ``in_dark``
returns a figure for a dark page, ``save_figure`` writes one as HTML, JSON, SVG, PNG or PDF.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .code_map import plot_code_map
    from .drift import plot_drift
    from .lab import plot_lab
    from .masks import plot_mask_sweep
    from .priors import plot_attributes, plot_bits
    from .rows import plot_panels, plot_rows
    from .saving import save_figure, save_figures
    from .study import plot_bars, plot_study, plot_sweep
    from .style import figure_json, in_dark
    from .training import plot_training
    from .usage import plot_ranks, plot_usage

__all__ = [
    "figure_json",
    "in_dark",
    "plot_attributes",
    "plot_bars",
    "plot_bits",
    "plot_code_map",
    "plot_drift",
    "plot_lab",
    "plot_mask_sweep",
    "plot_panels",
    "plot_ranks",
    "plot_rows",
    "plot_study",
    "plot_sweep",
    "plot_training",
    "plot_usage",
    "save_figure",
    "save_figures",
]

_MODULES = {
    "figure_json": ".style",
    "in_dark": ".style",
    "plot_attributes": ".priors",
    "plot_bars": ".study",
    "plot_bits": ".priors",
    "plot_code_map": ".code_map",
    "plot_drift": ".drift",
    "plot_lab": ".lab",
    "plot_mask_sweep": ".masks",
    "plot_ranks": ".usage",
    "plot_panels": ".rows",
    "plot_rows": ".rows",
    "plot_study": ".study",
    "plot_sweep": ".study",
    "plot_training": ".training",
    "plot_usage": ".usage",
    "save_figure": ".saving",
    "save_figures": ".saving",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""RegVQ Studio's library: regularized vector quantization for tokenized images.

``from regvq import Tokenizer, load_prior, open_dataset`` is the front door. In the source tree
``from core import …`` gives the same objects. Each name is imported when it is first used, so that
``import regvq`` itself is cheap: it does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if __name__ == "core":
    from ._names import share_modules

    share_modules()

if TYPE_CHECKING:
    from .analysis.diagnose import Diagnosis, diagnose
    from .bundles.bundle import list_bundles
    from .checkpoints import load_prior, load_tokenizer
    from .conditions import Condition
    from .data import open_dataset
    from .priors import Prior
    from .tokenizer import Tokenizer, TokenizerConfig

__version__ = "0.2.0"
__all__ = [
    "Condition",
    "Diagnosis",
    "Prior",
    "Tokenizer",
    "TokenizerConfig",
    "__version__",
    "diagnose",
    "list_bundles",
    "load_prior",
    "load_tokenizer",
    "open_dataset",
]

_MODULES = {
    "Condition": ".conditions",
    "Diagnosis": ".analysis.diagnose",
    "Prior": ".priors",
    "Tokenizer": ".tokenizer",
    "TokenizerConfig": ".tokenizer",
    "diagnose": ".analysis.diagnose",
    "list_bundles": ".bundles.bundle",
    "load_prior": ".checkpoints",
    "load_tokenizer": ".checkpoints",
    "open_dataset": ".data",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

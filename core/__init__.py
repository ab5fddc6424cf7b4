"""RegVQ Studio's library: regularized vector quantization for tokenized images.

``from regvq import Tokenizer`` is the front door (``from core import Tokenizer`` in the source tree
is the same class). Everything is imported when it is first used, so that a program which only lists
checkpoints or draws scenes does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if __name__ == "core":
    from ._names import share_modules

    share_modules()

if TYPE_CHECKING:
    from .tokenizer import Tokenizer, TokenizerConfig

__version__ = "0.2.0"
__all__ = ["Tokenizer", "TokenizerConfig", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Tokenizer", "TokenizerConfig"):
        from . import tokenizer

        return getattr(tokenizer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

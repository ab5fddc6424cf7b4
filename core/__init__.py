"""RegVQ Studio's library: regularized vector quantization for tokenized images.

``from core import Tokenizer`` is the front door. The import is lazy, so that tools which only list
checkpoints or draw scenes do not pay for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.tokenizer import Tokenizer, TokenizerConfig

__version__ = "0.1.0"
__all__ = ["Tokenizer", "TokenizerConfig", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Tokenizer", "TokenizerConfig"):
        from core import tokenizer

        return getattr(tokenizer, name)
    raise AttributeError(f"module 'core' has no attribute {name!r}")

"""Published tokenizers as bundles: their files read without executing anything, their networks and
quantizers recognized by the names and shapes of their weights."""

from .bundle import CONVERTER, import_tokenizer
from .conversion import Imported, convert

__all__ = ["CONVERTER", "Imported", "convert", "import_tokenizer"]

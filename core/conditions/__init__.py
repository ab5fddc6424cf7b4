"""Conditions: what a prior is told. Text, a semantic map, a class label, or several at once."""

from .condition import Condition
from .conditioner import CONDITIONS, ConditionConfig, Conditioner, Encoded, name_of
from .label import LabelConfig
from .semantic import SemanticConfig
from .text import Reading, TextConfig, import_open_clip

__all__ = [
    "CONDITIONS",
    "Condition",
    "ConditionConfig",
    "Conditioner",
    "Encoded",
    "LabelConfig",
    "Reading",
    "SemanticConfig",
    "TextConfig",
    "import_open_clip",
    "name_of",
]

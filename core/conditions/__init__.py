"""Conditions of a prior: text, a semantic map, a class label, or several of them."""

from .condition import Condition
from .conditioner import CONDITIONS, ConditionConfig, Conditioner, EncodedCondition, name_of
from .label import LabelConfig
from .semantic import SemanticConfig
from .text import TextConfig, TextCoverage, import_open_clip

__all__ = [
    "CONDITIONS",
    "Condition",
    "ConditionConfig",
    "Conditioner",
    "EncodedCondition",
    "LabelConfig",
    "SemanticConfig",
    "TextConfig",
    "TextCoverage",
    "import_open_clip",
    "name_of",
]

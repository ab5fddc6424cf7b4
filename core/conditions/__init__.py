"""Conditions: what a prior is told. Text, a semantic map, a class label, or several at once."""

from core.conditions.condition import Condition
from core.conditions.conditioner import (
    CONDITIONS,
    ConditionConfig,
    Conditioner,
    Encoded,
    name_of,
)
from core.conditions.label import LabelConfig
from core.conditions.semantic import SemanticConfig
from core.conditions.text import Reading, TextConfig, import_open_clip

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

"""Judges: evaluation networks, which the project trains to measure generated pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ..bundles.bundle import Bundle
from .attributes import AttributeClassifier, AttributesConfig
from .base import Judge
from .labels import LabelClassifier, LabelsConfig
from .segmenter import Segmenter, SegmenterConfig
from .words import WordJudge, WordsConfig

__all__ = [
    "AttributeClassifier",
    "AttributesConfig",
    "Judge",
    "LabelClassifier",
    "LabelsConfig",
    "Segmenter",
    "SegmenterConfig",
    "WordJudge",
    "WordsConfig",
    "load_judge",
]

AnyJudge = TypeVar("AnyJudge", bound=Judge)


def load_judge(source: str | Path | Bundle, kind: type[AnyJudge], device: str = "cpu") -> AnyJudge:
    """Load the judge of a bundle: ``kind.from_pretrained(source, device)``."""
    return kind.from_pretrained(source, device)

"""The levels of a tokenizer: residual codes, product codes, or both, over its quantizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Quantizer
from .levels import LeveledQuantizer
from .product import ProductConfig
from .residual import ResidualConfig


@dataclass(frozen=True)
class LevelsConfig:
    """Residual and product codes over the quantizer of a tokenizer; by default a single code."""

    residual: int = 1
    """Levels of residual codes: each quantizes what the levels before have left (arXiv 2107.03312,
    2203.01941). 1: none."""
    groups: int = 1
    """Groups of channels with codes of their own: product codes (arXiv 2006.11477). Each group has
    all residual levels, so that a position has residual x groups ids. 1: no groups."""
    shared: bool = False
    """One codebook for all levels and groups instead of one for each."""
    dropout: float = 0.0
    """Probability that a training step uses only the first residual levels, at random how many
    (quantizer dropout), so that fewer levels decode well, too."""
    beam: int = 1
    """Candidates that are kept from residual level to residual level when ids are chosen; 1 is the
    greedy choice."""

    def __post_init__(self) -> None:
        for name in ("residual", "groups", "beam"):
            if getattr(self, name) < 1:
                raise ValueError(f"levels.{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"levels.dropout must be in [0, 1], got {self.dropout}")
        if self.residual == 1 and (self.dropout > 0 or self.beam > 1):
            raise ValueError(
                "levels.dropout and levels.beam belong to residual codes: set levels.residual 2 or "
                "more"
            )

    @property
    def count(self) -> int:
        """L, the number of ids per position."""
        return self.residual * self.groups

    def build(self, base: Any, dim: int) -> Quantizer | LeveledQuantizer:
        """Build the quantizer of latents of length ``dim``: that of ``base``, a quantizer's config,
        or levels over it.

        Raises ValueError unless the groups divide ``dim``.
        """
        if self.residual > 1:
            base = ResidualConfig(base, self.residual, self.shared, self.dropout, self.beam)
        if self.groups > 1:
            base = ProductConfig(base, self.groups, self.shared)
        return base.build(dim)

    def words(self) -> str:
        """Return the levels in words."""
        kinds = (
            f"{self.residual} residual levels" if self.residual > 1 else "",
            f"{self.groups} groups of channels" if self.groups > 1 else "",
        )
        shared = ", one codebook for all" if self.shared else ""
        return (" in each of ".join(filter(None, kinds)) or "one code") + shared

"""The condition of a batch of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """The condition of a batch of B pictures; each part is optional.

    Raises ValueError if the parts differ in B.
    """

    texts: tuple[str, ...] | None = None
    """One sentence per picture; an empty one is no condition."""
    segmentation: Tensor | None = None
    """int64 (B, h, w) on the token grid or (B, H, W) in pixels, 255 = unlabeled."""
    labels: Tensor | None = None
    """int64 (B,), -1 = none."""

    def __post_init__(self) -> None:
        if isinstance(self.texts, str):
            raise ValueError("a condition's texts must be a tuple of strings, got one string")
        if len(sizes := {len(part) for part in self._parts()}) > 1:
            raise ValueError(f"the parts of a condition differ in number: {sorted(sizes)}")

    def _parts(self) -> list[Any]:
        parts = (self.texts, self.segmentation, self.labels)
        return [part for part in parts if part is not None]

    def __len__(self) -> int:
        """Return B, or 0 if there is no part."""
        return len(self._parts()[0]) if self._parts() else 0

    def __bool__(self) -> bool:
        return True

    def repeat(self, times: int) -> Condition:
        """Return the whole batch ``times`` times, one after the other: B x ``times`` rows."""
        return Condition(
            None if self.texts is None else tuple(self.texts) * times,
            None if self.segmentation is None else self.segmentation.repeat(times, 1, 1),
            None if self.labels is None else self.labels.repeat(times),
        )

    def to(self, device: torch.device | str) -> Condition:
        """Return the condition on another device."""
        return Condition(
            self.texts,
            None if self.segmentation is None else self.segmentation.to(device, non_blocking=True),
            None if self.labels is None else self.labels.to(device, non_blocking=True),
        )

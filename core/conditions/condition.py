"""What a prior is told."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """What a batch of B pictures is to be; any part may be absent.

    Parts must agree in B. Raises ValueError if they do not.
    """

    texts: tuple[str, ...] | None = None
    """A sentence a picture; an empty one says nothing."""
    segmentation: Tensor | None = None
    """int64 (B, h, w) on the token grid or (B, H, W) in pixels, 255 = unlabelled."""
    labels: Tensor | None = None
    """int64 (B,), -1 = none."""

    def __post_init__(self) -> None:
        if isinstance(self.texts, str):
            raise ValueError("a condition's texts must be a tuple of strings, got one string")
        if len(sizes := {len(part) for part in self._parts()}) > 1:
            raise ValueError(f"the parts of a condition differ in number: {sorted(sizes)}")

    def _parts(self) -> list:
        parts = (self.texts, self.segmentation, self.labels)
        return [part for part in parts if part is not None]

    def __len__(self) -> int:
        """B, or 0 where nothing is said at all."""
        return len(self._parts()[0]) if self._parts() else 0

    def __bool__(self) -> bool:
        return True

    def repeat(self, times: int) -> Condition:
        """The whole batch over and over: B x ``times`` rows."""
        return Condition(
            None if self.texts is None else tuple(self.texts) * times,
            None if self.segmentation is None else self.segmentation.repeat(times, 1, 1),
            None if self.labels is None else self.labels.repeat(times),
        )

    def to(self, device: torch.device | str) -> Condition:
        """The same on another device."""
        return Condition(
            self.texts,
            None if self.segmentation is None else self.segmentation.to(device),
            None if self.labels is None else self.labels.to(device),
        )

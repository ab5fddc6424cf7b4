"""The value range of a tokenizer's pixels, [-1, 1] or [0, 1], and a test of which one it has.

Published tokenizers have either, no file states which, and in the wrong range a tokenizer still
works, only worse. Gray pictures tell one of the two mistakes: in a tokenizer of [0, 1] that is fed
[-1, 1], dark grays come back too bright, since it paints nothing below 0. The other mistake they do
not tell: a tokenizer of [-1, 1] that is fed [0, 1] paints grays well, at half the contrast.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

Range = Literal["signed", "unit"]

LEVELS = (-0.8, -0.4, 0.4, 0.8)
"""The grays, in [-1, 1]."""
SIDE = 64
WRONG = 0.15
"""Mean absolute error on [-1, 1] from which the stated range is doubted. Our choice."""
BETTER = 0.5
"""Share of it that the other range must fall below. Our choice."""


class Reconstructs(Protocol):
    """A tokenizer of pictures in [-1, 1]."""

    def reconstruct(self, images: Tensor) -> Tensor: ...


def range_warning(tokenizer: Reconstructs, stated: Range) -> str | None:
    """Return a sentence if a tokenizer that works in the range "signed" reconstructs gray pictures
    far better in the range "unit"; else None."""
    if stated == "unit":
        return None
    grays = torch.tensor(LEVELS).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE)
    error = _error(tokenizer.reconstruct(grays), grays)
    unit = _error((2 * tokenizer.reconstruct((grays + 1) / 2) - 1).clamp(-1, 1), grays)
    if error < WRONG or unit > BETTER * error:
        return None
    return (
        f"gray pictures come back with a mean error of {error:.2f} in the range signed ([-1, 1]) "
        f"and of {unit:.2f} in the range unit ([0, 1]): it looks like a tokenizer of --range unit"
    )


def _error(painted: Tensor, images: Tensor) -> float:
    return float((painted.cpu() - images).abs().mean())

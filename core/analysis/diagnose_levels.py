"""The health of each level of residual and product codes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantizers import LeveledQuantizer, SignalQuantizer
from .diagnose import Diagnosis, check_rows, diagnose, rows_of


@torch.no_grad()
def diagnose_levels(
    quantizer: LeveledQuantizer | SignalQuantizer, latents: Tensor
) -> list[Diagnosis]:
    """Return what is wrong with each level's codebook, and what to try.

    ``latents`` are what the encoder gives the quantizer, in the shapes that ``diagnose`` takes;
    each level is judged on what it quantizes: the rest that the levels before leave, or its group
    of channels. Raises ValueError as ``diagnose``, and for a quantizer with a single codebook.
    """
    rows, inner = rows_of(quantizer, latents)
    if not isinstance(inner, LeveledQuantizer):
        raise ValueError("diagnose_levels looks at residual or product codes; use diagnose")
    check_rows(rows)
    z = rows.t()[None, :, :, None]
    return [diagnose(part, seen) for part, seen in inner.level_parts(z, inner.assign(z))]

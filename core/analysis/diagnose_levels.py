"""The health of each level of residual and product codes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantizers import LeveledQuantizer
from .diagnose import Diagnosis, diagnose


@torch.no_grad()
def diagnose_levels(quantizer: LeveledQuantizer, latents: Tensor) -> list[Diagnosis]:
    """Return what is wrong with each level's codebook, and what to try.

    ``latents`` (B, D, h, w) are what the encoder gives the quantizer; each level is judged on what
    it quantizes: the rest that the levels before leave, or its group of channels. Raises ValueError
    as ``diagnose``.
    """
    ids = quantizer.assign(latents)
    return [diagnose(part, seen) for part, seen in quantizer.level_parts(latents, ids)]

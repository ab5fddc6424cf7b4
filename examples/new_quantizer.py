"""A quantizer of your own: trained as a recipe and opened in the explorer, without a change to the
package.

Train it on landscapes that the code draws (no files are needed):

    python train/run.py --recipe examples/new_quantizer.py:scenes_product --steps 300

Open the result. The bundle names its quantizer, and REGVQ_EXTENSIONS the file that defines it:

    REGVQ_EXTENSIONS=examples/new_quantizer.py python app.py

Every other command reads the same variable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regvq.quantizers import Quantized, Quantizer, register_quantizer
from regvq.quantizers.ops import negative_distances
from regvq.quantizers.tiled.lookup import nearest_code


@dataclass(frozen=True)
class ProductVQConfig:
    """Product quantization: the two halves of a latent are quantized separately."""

    size: int = 1024
    """K, the number of codes: a square number, K = S x S for S codes per half."""
    beta: float = 0.25
    """Weight of the commitment loss."""

    def build(self, dim: int) -> ProductVectorQuantizer:
        """Return the quantizer for codes of length ``dim``, an even number."""
        return ProductVectorQuantizer(self, dim)


class ProductVectorQuantizer(Quantizer):
    """Code a * S + b is the a-th code of the first half beside the b-th code of the second half."""

    def __init__(self, config: ProductVQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config, self.side = config, math.isqrt(config.size)
        self.halves = nn.Parameter(torch.randn(2, self.side, dim // 2) * dim**-0.5)

    def codebook(self) -> Tensor:
        first, second = self.halves.float()
        rows = first.repeat_interleave(self.side, 0), second.repeat(self.side, 1)
        return torch.cat(rows, 1)  # (K, D)

    def assign_rows(self, rows: Tensor) -> Tensor:
        first, second = (
            nearest_code(half.contiguous(), codes)
            for half, codes in zip(rows.chunk(2, 1), self.halves.float(), strict=True)
        )
        return first * self.side + second

    def logits(self, rows: Tensor) -> Tensor:
        return negative_distances(rows, self.codebook())

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        z = z.float()
        ids = self.assign(z)
        chosen = self.embed(ids)
        if not self.training:
            return Quantized(chosen, ids, {})
        losses = {
            "commitment": self.config.beta * F.mse_loss(z, chosen.detach()),
            "codebook": F.mse_loss(chosen, z.detach()),
        }
        return Quantized(chosen.detach() + (z - z.detach()), ids, losses)  # straight-through


register_quantizer("product", ProductVQConfig)  # the name in config.json


def scenes_product():
    """Product quantization on drawn landscapes, with the network and budget of scenes-regvq."""
    from regvq_train.recipes import config_of

    run = config_of("scenes-regvq")
    return replace(run, tokenizer=replace(run.tokenizer, quantizer=ProductVQConfig()))

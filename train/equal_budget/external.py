"""Quantizers of vector-quantize-pytorch with this project's interface, as external references.

The package is a development dependency, and is imported only when one of them is built. Its modules
keep their own losses, moving averages and estimators; only shapes are converted here. A tokenizer
with one of them is measured but never shipped: bundles hold registered quantizers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regvq.quantizers.base import Quantized, Quantizer, no_autocast, to_grid, to_rows
from regvq.quantizers.ops import negative_distances
from regvq.quantizers.tiled.lookup import nearest_code


@dataclass(frozen=True)
class ExternalVQConfig:
    """vector-quantize-pytorch's VectorQuantize: moving averages, decay 0.8, commitment 1."""

    size: int = 1024
    """K, the number of codes."""

    def build(self, dim: int) -> ExternalQuantizer:
        """Return the quantizer for codes of length ``dim``."""
        module = _package().VectorQuantize(dim=dim, codebook_size=self.size)
        return ExternalQuantizer(self.size, dim, module)


@dataclass(frozen=True)
class ExternalSimVQConfig:
    """vector-quantize-pytorch's SimVQ: no bias on the layer, and the rotation trick."""

    size: int = 1024
    """K, the number of codes."""

    def build(self, dim: int) -> ExternalQuantizer:
        """Return the quantizer for codes of length ``dim``."""
        return ExternalQuantizer(self.size, dim, _package().SimVQ(dim=dim, codebook_size=self.size))


def _package() -> Any:
    try:
        import vector_quantize_pytorch
    except ImportError:
        raise ValueError(
            "the study's external references need vector-quantize-pytorch: "
            "install requirements-dev.txt, or leave out the runs named outside-"
        ) from None
    return vector_quantize_pytorch


class ExternalQuantizer(Quantizer):
    """A ``Quantizer`` around a module that maps rows (1, N, D) to (quantized, ids, loss)."""

    def __init__(self, size: int, dim: int, module: nn.Module) -> None:
        super().__init__(size, dim)
        self.module = module

    def codebook(self) -> Tensor:
        with no_autocast(torch.empty(0)):
            return self.module.codebook.float().reshape(self.size, self.dim)

    def assign_rows(self, rows: Tensor) -> Tensor:
        return nearest_code(rows, self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        """Return negative squared distances."""
        return negative_distances(rows, self.codebook())

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        with no_autocast(z):
            z = z.float()
            if not self.training:
                ids = self.assign(z)
                return Quantized(self.embed(ids), ids, {})
            rows, ids, loss = self.module(to_rows(z)[None])
            shape = (z.shape[0], *z.shape[2:])
            return Quantized(to_grid(rows[0], z), ids.view(shape), {"outside": loss.sum()})

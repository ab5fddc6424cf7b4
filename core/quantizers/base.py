"""The face that every quantizer shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Quantized(NamedTuple):
    """What a quantizer makes of a batch of latents.

    ``z`` is float32 (B, D, h, w): what the decoder gets, with the straight-through gradient.
    ``ids`` is int64 (B, h, w). ``losses`` are scalars that the trainer adds up as they are: weights
    are already in. ``mask`` is bool (B, h, w), true where the code was drawn at random rather than
    by argmax; ``perturbation`` is float32 (B, h, w), the squared distance between the drawn and the
    best code (Reg-VQ section 3.4). Both are None for quantizers without randomness.
    """

    z: Tensor
    ids: Tensor
    losses: dict[str, Tensor]
    mask: Tensor | None = None
    perturbation: Tensor | None = None


class Quantizer(nn.Module, ABC):
    """Latents (B, D, h, w) to code ids (B, h, w) and back, always computed in float32.

    ``embed(assign(z))`` is exactly what ``forward`` hands to the decoder in eval mode.
    """

    is_stochastic: ClassVar[bool] = False
    """Whether it has a token distribution that ``forward`` draws from, and so a mask ratio. The
    others' ``log_posterior`` is only a way to look at the runners-up."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"quantizer.size must be at least 1 code, got {size}")
        self.size = size
        self.dim = dim
        # Set by the trainer while the encoder is frozen (NSVQ's later stages): rules that exist to
        # follow a moving encoder rest.
        self.encoder_frozen = False

    @abstractmethod
    def codebook(self) -> Tensor:
        """The codes as the decoder sees them, float32 (K, D)."""

    @abstractmethod
    def assign_rows(self, rows: Tensor) -> Tensor:
        """Ids int64 (N,) of float32 latents (N, D); argmax, no noise."""

    @abstractmethod
    def logits(self, rows: Tensor) -> Tensor:
        """Logits float32 (N, K) of the token distribution; ``assign_rows`` is their argmax."""

    @abstractmethod
    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Quantize latents (B, D, h, w). ``mask_ratio`` in [0, 1] is the share of positions drawn
        at random instead of by argmax (None: the configured ratio in training, 0 in eval);
        quantizers without randomness ignore it."""

    def assign(self, z: Tensor) -> Tensor:
        """Ids int64 (B, h, w) of latents (B, D, h, w)."""
        batch, _, height, width = z.shape
        with no_autocast(z):
            return self.assign_rows(to_rows(z)).view(batch, height, width)

    def embed(self, ids: Tensor) -> Tensor:
        """Latents float32 (B, D, h, w) of ids (B, h, w); each id in [0, K)."""
        with no_autocast(ids):
            return nn.functional.embedding(ids, self.codebook()).permute(0, 3, 1, 2)

    def log_posterior(self, rows: Tensor) -> Tensor:
        """log p(code | latent), float32 (N, K), of latents (N, D)."""
        with no_autocast(rows):
            return self.logits(rows.float()).log_softmax(-1)

    def schedule(self, progress: float) -> None:
        """Before a training step: set what changes over a run, a function of ``progress`` in
        [0, 1] alone, so that a resumed run finds the same."""

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Tensor | None:
        """After an optimizer step: codebook rules that are no gradient (EMA, restart).

        ``z`` (B, D, h, w) and ``ids`` (B, h, w) are the step's own. Returns the ids int64 (R,) of
        the codes that were replaced, so that the trainer clears what the optimizer remembers of
        them.
        """
        return None


def to_rows(z: Tensor) -> Tensor:
    """Latents (B, D, h, w) as float32 rows (B*h*w, D)."""
    return z.float().permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def to_grid(rows: Tensor, like: Tensor) -> Tensor:
    """Rows (B*h*w, D) as latents (B, D, h, w), with the shape of ``like``."""
    batch, dim, height, width = like.shape
    return rows.view(batch, height, width, dim).permute(0, 3, 1, 2)


def no_autocast(x: Tensor) -> torch.autocast:
    """Distances lose whole codes in half precision: quantizers leave autocast."""
    return torch.autocast(x.device.type, enabled=False)

"""The interface of every quantizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Quantized(NamedTuple):
    """The output of a quantizer for a batch of latents."""

    z: Tensor
    """float32 (B, D, h, w): the input of the decoder, with the straight-through gradient."""
    ids: Tensor
    """int64 (B, h, w)."""
    losses: dict[str, Tensor]
    """Scalars that the trainer adds as they are: they include their weights."""
    mask: Tensor | None = None
    """bool (B, h, w), true where the code was drawn at random instead of chosen by argmax; None for
    quantizers that draw nothing."""
    perturbation: Tensor | None = None
    """float32 (B, h, w), the squared distance between the drawn and the best code (Reg-VQ section
    3.4); None for quantizers that draw nothing."""


class Quantizer(nn.Module, ABC):
    """A map from latents (B, D, h, w) to code ids (B, h, w) and back, computed in float32.

    ``embed(assign(z))`` is exactly the ``z`` that ``forward`` returns in eval mode.
    """

    is_stochastic: ClassVar[bool] = False
    """True if the quantizer has a token distribution that ``forward`` can draw from, with a mask
    ratio. The ``log_posterior`` of the others only ranks their codes."""

    straight_through: bool = False
    """True if the gradient on the latents is, apart from that of the losses, exactly the one on
    ``z`` of the result. Others have that of a projection, a soft choice, a rotation or a length."""

    set_by_config: ClassVar[tuple[str, ...]] = ()
    """Buffers whose values the config sets. A run that is initialized from another checkpoint keeps
    its own; a checkpoint's are those that it was trained with."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"quantizer.size must be at least 1 code, got {size}")
        self.size = size
        self.dim = dim
        # Set by the trainer while the encoder is frozen (NSVQ's later stages), when the rules that
        # follow a moving encoder do nothing.
        self.encoder_frozen = False

    @abstractmethod
    def codebook(self) -> Tensor:
        """Return the codes as the decoder gets them, float32 (K, D)."""

    @abstractmethod
    def assign_rows(self, rows: Tensor) -> Tensor:
        """Return the ids int64 (N,) of float32 latents (N, D), by argmax without noise."""

    @abstractmethod
    def logits(self, rows: Tensor) -> Tensor:
        """Return the logits float32 (N, K) of the token distribution of float32 latents (N, D).

        ``assign_rows`` is their argmax.
        """

    @abstractmethod
    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Quantize latents (B, D, h, w).

        ``mask_ratio`` in [0, 1] is the share of positions whose code is drawn instead of chosen by
        argmax; by default the configured ratio in training and 0 in eval mode. Quantizers that are
        not ``is_stochastic`` ignore it.
        """

    def assign(self, z: Tensor) -> Tensor:
        """Return the ids int64 (B, h, w) of latents (B, D, h, w)."""
        check_latents(z, self.dim)
        batch, _, height, width = z.shape
        with no_autocast(z):
            return self.assign_rows(to_rows(z)).view(batch, height, width)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the codes float32 (B, D, h, w) of ids (B, h, w), each in [0, K)."""
        with no_autocast(ids):
            return nn.functional.embedding(ids, self.codebook()).permute(0, 3, 1, 2)

    def log_posterior(self, rows: Tensor) -> Tensor:
        """Return log p(code | latent), float32 (N, K), of latents (N, D)."""
        with no_autocast(rows):
            return self.logits(rows.float()).log_softmax(-1)

    def initialize_codes(self, centers: Tensor) -> None:
        """Set the codes to ``centers`` float32 (K, D), cluster centers of latents, before the first
        step of a run.

        Raises ValueError for a quantizer whose codes are not points among the latents.
        """
        raise ValueError(f"{type(self).__name__} has no codes that can be set to latents")

    def schedule(self, progress: float) -> None:
        """Set the values that change over a run; called before each training step.

        They depend only on ``progress`` in [0, 1], so that a resumed run has the same values.
        """

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Tensor | None:
        """Apply the codebook's rules without a gradient (EMA, restart); called after each step.

        ``z`` (B, D, h, w) and ``ids`` (B, h, w) are those of the step. Returns the ids int64 (R,)
        of replaced codes, so that the trainer clears the optimizer's state for them, or None. On a
        GPU it may be a mask of the codes, bool (K,), because their number would have to be read.
        """
        return None


def check_latents(z: Tensor, dim: int) -> None:
    """Raise ValueError unless ``z`` are latents (B, D, h, w) with D = ``dim``, and some."""
    if z.ndim != 4 or z.shape[1] != dim:
        other = "" if z.ndim == 4 else "; a SignalQuantizer takes those of other shapes"
        raise ValueError(f"latents must be (B, {dim}, h, w), got {tuple(z.shape)}{other}")
    if not torch.compiler.is_compiling() and not z.numel():
        raise ValueError(f"the batch of latents {tuple(z.shape)} is empty")


def to_rows(z: Tensor) -> Tensor:
    """Return latents (B, D, h, w) as float32 rows (B*h*w, D)."""
    return z.float().permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def to_grid(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows (B*h*w, D) as latents (B, D, h, w) of the shape of ``like``."""
    batch, dim, height, width = like.shape
    return rows.reshape(batch, height, width, dim).permute(0, 3, 1, 2)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return ``layer`` of ``x``, in the type of ``x``: float32, also if the layer was converted."""
    return nn.functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def no_autocast(x: Tensor) -> torch.autocast:
    """Return a context without autocast: in half precision, distances of codes become equal."""
    return torch.autocast(x.device.type, enabled=False)

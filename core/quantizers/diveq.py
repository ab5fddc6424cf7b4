"""DiVeQ: differentiable vector quantization (arXiv 2509.26469, ICLR 2026).

Quantization is written as the addition of an error: z + |c - z| u, with u the direction from the
latent z to its nearest code c, as a constant. The value is the code, and the length of the error
has a gradient on the latent and on the code. Therefore the reconstruction loss moves both, and no
further loss is needed. A little noise on the direction, in training only, spreads the gradient;
codes that no latent chooses are replaced by copies of used ones. The space-filling variant, which
maps latents to lines between codes instead of ids, is not covered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..distributed import sum_over_processes
from ..host_values import HostCopy, count_values
from .base import Quantized, Quantizer, check_latents, no_autocast, to_grid, to_rows
from .ops import negative_distances, normal, replace_by_copies
from .tiled.lookup import nearest_code


@dataclass(frozen=True)
class DiVeQConfig:
    """DiVeQ, with the defaults of the authors' package ``diveq``."""

    size: int = 1024
    """K, the number of codes."""
    noise: float = 1e-3
    """Standard deviation of the Gaussian noise on each component of c - z, from which the direction
    is computed. The authors' package calls the same number a variance and uses it as a standard
    deviation; vector-quantize-pytorch takes the root of its 5e-3. With 0, the decoder gets the code
    itself in training as well (the authors' variant "detach")."""
    replace_every: int = 100
    """Optimizer steps between replacements; 0: never."""
    replace_below: float = 0.01
    """A code that was used in a smaller share of these steps is replaced."""
    replacement_noise: float = 1e-9
    """Standard deviation of the noise on a copied code."""

    def __post_init__(self) -> None:
        for name in ("noise", "replacement_noise", "replace_every"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"quantizer.{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.replace_below <= 1:
            raise ValueError(f"quantizer.replace_below must be in [0, 1], got {self.replace_below}")

    def build(self, dim: int) -> DifferentiableVectorQuantizer:
        """Build the quantizer for codes of length ``dim``."""
        return DifferentiableVectorQuantizer(self, dim)


def add_error(
    rows: Tensor, chosen: Tensor, noise: Tensor | None = None, eps: float = 1e-12
) -> Tensor:
    """Return rows z (N, D) plus the error of their codes c = ``chosen`` (N, D): z + |c - z| u.

    u is c - z, plus ``noise`` (N, D), scaled to unit length and constant. The gradient reaches z
    and c. Without noise the value is c up to rounding.
    """
    error = chosen - rows
    direction = error.detach() if noise is None else error.detach() + noise
    direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(eps)
    return rows + torch.linalg.vector_norm(error, dim=1, keepdim=True) * direction


class DifferentiableVectorQuantizer(Quantizer):
    """Nearest code, reached by an error of differentiable length; no losses, replacement."""

    used_steps: Tensor
    updates: Tensor

    def __init__(self, config: DiVeQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        # Uniform in [0, 1/K), as in the authors' package.
        self.codes = nn.Parameter(torch.rand(self.size, dim) / self.size)
        if config.replace_every:
            self.register_buffer("used_steps", torch.zeros(self.size, dtype=torch.int64))
            self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._done = HostCopy()

    def codebook(self) -> Tensor:
        return self.codes.float()

    @torch.no_grad()
    def initialize_codes(self, centers: Tensor) -> None:
        self.codes.copy_(centers)

    def assign_rows(self, rows: Tensor) -> Tensor:
        return nearest_code(rows, self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        """Return negative squared distances. DiVeQ has no posterior; these only rank the codes."""
        return negative_distances(rows, self.codebook())

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Quantize latents (B, D, h, w). In training, ``z`` of the result is near the code, at the
        same distance from the latent, and is the code itself if ``noise`` is 0."""
        check_latents(z, self.dim)
        with no_autocast(z):
            z = z.float()
            ids = self.assign(z)
            if not self.training:
                return Quantized(self.embed(ids), ids, {})
            rows, chosen = to_rows(z), to_rows(self.embed(ids))
            noise = None
            if self.config.noise:
                noise = normal(rows.shape, generator, rows.device)
                noise = noise * self.config.noise
            through = add_error(rows, chosen, noise)
            if noise is None:  # the value is exactly the code's
                through = chosen.detach() + (through - through.detach())
            return Quantized(to_grid(through, z), ids, {})

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Tensor | None:
        """Replace codes that are hardly used, as ``Quantizer.update``. Every ``replace_every``
        steps, the host waits for a GPU once, to copy the uses of the codes.
        """
        config = self.config
        if not config.replace_every or self.encoder_frozen:
            return None
        self.used_steps += sum_over_processes(count_values(ids, self.size)) > 0
        done = self._done.raised(self.updates)
        if done % config.replace_every:
            return None
        steps = self.used_steps.double().cpu()
        self.used_steps.zero_()
        kept = steps >= config.replace_below * config.replace_every
        dead = (~kept).nonzero().flatten()
        if not len(dead) or not bool(kept.any()):
            return None
        # Seeded by the number of updates, so that a resumed run draws the codes of an uninterrupted
        # run (our choice).
        return replace_by_copies(self.codes, dead, steps * kept, config.replacement_noise, done)

"""Distances on pretrained features: between two pictures, and between two sets of pictures.

They are named after the features they are computed on (``features.label``): only on Inception
features with the published weights would the second be an FID, and only with its fitted heads would
the first be LPIPS. Neither may be compared with numbers computed on other features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def feature_distance(features: Callable[[Tensor], list[Tensor]], a: Tensor, b: Tensor) -> Tensor:
    """Perceptual distance (B,) of images (B, 3, H, W) in [-1, 1]; 0 = the same, at most 4.

    LPIPS (Zhang et al. 2018, Eq. 1) without its fitted weights: per layer the features are scaled
    to unit length over channels, the squared differences summed over channels and averaged over
    positions, and the layers averaged. ``features`` maps images to a list of (B, C, H, W).
    Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of one shape are needed, got {tuple(a.shape)}, {tuple(b.shape)}")
    return layer_distance(features(a), features(b))


def layer_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """``feature_distance`` of features already computed: two lists of (B, C, H, W), to (B,).

    Differentiable: it is also the perceptual loss of training.
    """
    layers = [
        (_unit(x) - _unit(y)).square().sum(dim=1).mean(dim=(1, 2))
        for x, y in zip(a, b, strict=True)
    ]
    return torch.stack(layers).mean(dim=0)


def _unit(x: Tensor) -> Tensor:
    x = x.float()
    # inside the root, so that a position without any activity has a gradient, and it is finite
    return x * (x.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt()


class FrechetStatistics:
    """Mean and covariance of features, gathered in float64 without keeping the features.

    Two of them give the Fréchet distance of the Gaussians they describe (Heusel et al. 2017,
    Eq. 6). The estimate is biased upwards when there are few samples, so compare only figures from
    equally many. Memory: one (D, D) float64 matrix.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self._sum = torch.zeros(dim, dtype=torch.float64)
        self._outer = torch.zeros(dim, dim, dtype=torch.float64)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Adds ``x`` (N, D). Raises ValueError if D differs or a value is not finite."""
        if x.dim() != 2 or x.shape[1] != len(self._sum):
            raise ValueError(f"features (N, {len(self._sum)}) are needed, got {tuple(x.shape)}")
        # On the CPU, because not every accelerator has float64, and x is small.
        x = x.detach().double().cpu()
        if not torch.isfinite(x).all():
            raise ValueError("a feature is not finite")
        self.count += len(x)
        self._sum += x.sum(dim=0)
        self._outer.addmm_(x.T, x)

    def mean(self) -> Tensor:
        """Mean of the features, float64 (D,). Raises ValueError if there were none."""
        if self.count < 1:
            raise ValueError("no features were given")
        return self._sum / self.count

    def covariance(self) -> Tensor:
        """Sample covariance (n - 1), float64 (D, D). Raises ValueError below two samples."""
        if self.count < 2:
            raise ValueError(f"a covariance needs 2 samples or more, got {self.count}")
        mean = self.mean()
        return (self._outer - self.count * torch.outer(mean, mean)) / (self.count - 1)

    def distance(self, other: FrechetStatistics) -> float:
        """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), at least 0.

        The trace of the root needs no matrix root: with C1 = A A', the eigenvalues of C1 C2 are
        those of the symmetric A' C2 A, and their roots are summed. A is the Cholesky factor, or,
        where C1 is singular (fewer samples than dimensions), the one from its eigenvectors.
        """
        c1, c2 = self.covariance(), other.covariance()
        factor, failed = torch.linalg.cholesky_ex(c1)
        if failed:
            values, vectors = torch.linalg.eigh(c1)
            factor = vectors * values.clamp_min(0).sqrt()
        spectrum = torch.linalg.eigvalsh(factor.T @ c2 @ factor)
        root = spectrum.clamp_min(0).sqrt().sum()
        apart = (self.mean() - other.mean()).square().sum()
        return max(0.0, float(apart + c1.trace() + c2.trace() - 2 * root))

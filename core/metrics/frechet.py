"""The Fréchet distance between two sets of pictures on pretrained features.

It is named after the features it is computed on (``Features.label``): it is FID only on Inception
features with the published weights, and must not be compared with figures on other features.
"""

from __future__ import annotations

import torch
from torch import Tensor


class FrechetStatistics:
    """Mean and covariance of features, gathered in float64 without keeping the features.

    Two of them give the Fréchet distance of the Gaussians they describe (Heusel et al. 2017,
    Eq. 6). The estimate is biased upward for few samples, so compare only figures on equally many.
    Memory: one (D, D) float64 matrix.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self._sum = torch.zeros(dim, dtype=torch.float64)
        self._outer = torch.zeros(dim, dim, dtype=torch.float64)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Add ``x`` (N, D). Raises ValueError if D differs or a value is not finite."""
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
        """Return the mean of the features, float64 (D,). Raises ValueError if there were none."""
        if self.count < 1:
            raise ValueError("no features were given")
        return self._sum / self.count

    def covariance(self) -> Tensor:
        """Return the sample covariance (n - 1), float64 (D, D).

        Raises ValueError below two samples.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs 2 samples or more, got {self.count}")
        mean = self.mean()
        return (self._outer - self.count * torch.outer(mean, mean)) / (self.count - 1)

    def distance(self, other: FrechetStatistics) -> float:
        """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), at least 0.

        The trace of the root needs no matrix root: with C1 = A A', the eigenvalues of C1 C2 are
        those of the symmetric A' C2 A, and their roots are summed. A is the Cholesky factor, or,
        if C1 is singular (fewer samples than dimensions), the one from its eigenvectors.
        """
        c1, c2 = self.covariance(), other.covariance()
        factor, failed = torch.linalg.cholesky_ex(c1)
        if failed:
            values, vectors = torch.linalg.eigh(c1)
            factor = vectors * values.clamp_min(0).sqrt()
        spectrum = torch.linalg.eigvalsh(factor.T @ c2 @ factor)
        root = spectrum.clamp_min(0).sqrt().sum()
        squared = (self.mean() - other.mean()).square().sum()
        return max(0.0, float(squared + c1.trace() + c2.trace() - 2 * root))

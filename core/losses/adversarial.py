"""Adversarial loss of VQ-GAN (arXiv 2012.09841, section 3.1) and its adaptive weight (Eq. 7)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator from its logits on real and reconstructed images; a
    scalar."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating hinge loss of the generator from the logits on its images; a scalar."""
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, largest: float = 1e4) -> Tensor:
    """|gradient of the reconstruction loss| / (|gradient of the adversarial loss| + 1e-4), clamped.

    Both gradients are those on the decoder's last weight. A scalar in [0, ``largest``], detached.
    """
    ratio = reconstruction.detach().norm() / (adversarial.detach().norm() + 1e-4)
    return ratio.clamp(0, largest)


def ramp(progress: float, start: float, length: float) -> float:
    """Weight in [0, 1] that is 0 before ``start`` and grows linearly to 1 over ``length``."""
    if progress < start:
        return 0.0
    return 1.0 if length <= 0 else min((progress - start) / length, 1.0)

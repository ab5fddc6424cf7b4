"""Adversarial loss of VQ-GAN (arXiv 2012.09841, section 3.1) and its adaptive weight (Eq. 7)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's hinge loss, a scalar, from its logits on real and reconstructed
    images."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: Tensor) -> Tensor:
    """Return the generator's non-saturating loss, a scalar, from the logits on its images."""
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, largest: float = 1e4) -> Tensor:
    """Return VQ-GAN's adaptive weight (Eq. 7), a detached scalar in [0, ``largest``].

    It is |a| / (|b| + 1e-4), clamped, where a and b are the gradients of the reconstruction loss
    and of the adversarial loss on the weight of the decoder's last layer.
    """
    ratio = reconstruction.detach().norm() / (adversarial.detach().norm() + 1e-4)
    return ratio.clamp(0, largest)


def ramp(progress: float, start: float, length: float) -> float:
    """Return a weight in [0, 1]: 0 before ``start``, then growing linearly to 1 over ``length``."""
    if progress < start:
        return 0.0
    return 1.0 if length <= 0 else min((progress - start) / length, 1.0)

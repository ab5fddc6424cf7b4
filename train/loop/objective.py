"""The loss on pictures and its gradient, with one backward pass through each network.

VQ-GAN's adaptive weight compares two gradients on the decoder's last weight. The usual code
computes them by two extra backward passes through the perceptual network and the discriminator.
Here the gradient of each loss is taken once, on the reconstruction; the two gradients on the last
weight follow by one convolution each, and the weighted sum is propagated through the tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from regvq.distributed import mean_over_processes
from regvq.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from regvq.losses.contrastive import contrastive_loss, on_token_grid, probabilistic_contrastive_loss
from regvq.losses.perceptual import layer_distance
from regvq.metrics.lpips import NET_OF_FEATURES, fitted_heads
from regvq.networks.discriminator import Discriminator
from regvq.networks.features import Features
from regvq.quantizers import Quantized

from ..config.tokenizer import LossConfig


@dataclass(frozen=True)
class PictureGradient:
    """The gradient of all picture losses on the reconstruction, and each loss for the log."""

    gradient: Tensor
    losses: dict[str, Tensor]


class Objective:
    """The pixel, perceptual, contrastive and adversarial losses of a reconstruction.

    ``visible`` returns the three channels of images (B, C, H, W) that the features see.
    """

    def __init__(
        self,
        config: LossConfig,
        features: Features | None,
        second: Features | None = None,
        visible: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> None:
        self.config, self.features, self.second = config, features, second
        self.visible = visible
        self.heads, self.second_heads = self._heads(features), self._heads(second)

    def _heads(self, features: Features | None) -> list[Tensor] | None:
        if features is None or not self.config.lpips:
            return None
        return [x.to(features.mean.device) for x in fitted_heads(NET_OF_FEATURES[features.name])]

    def __call__(
        self,
        images: Tensor,
        decoded: Tensor,
        quantized: Quantized,
        last_weight: Tensor,
        discriminator: Discriminator | None = None,
        adversarial_scale: float = 0.0,
        step: int = 0,
    ) -> PictureGradient:
        """Return losses and gradient for ``decoded`` (B, C, H, W), the reconstruction of
        ``images``.

        ``adversarial_scale`` in [0, 1] multiplies the adversarial weight. The graph from
        ``last_weight`` to ``decoded`` must not have been freed. ``step``, from 0, determines
        whether the perceptual distances are computed (``LossConfig.perceptual_every``).
        """
        leaf = decoded.detach().float().requires_grad_()
        losses = self._picture_losses(images, leaf, quantized, step)
        (gradient,) = torch.autograd.grad(sum(losses.values()), leaf)
        if discriminator is not None and adversarial_scale > 0:
            adversarial = generator_loss(discriminator(leaf).float())
            (adversarial_gradient,) = torch.autograd.grad(adversarial, leaf)
            weight = torch.ones((), device=leaf.device)
            if self.config.adaptive:
                # Of the joined batch: the norm of a mean of gradients is not the mean of norms.
                weight = adaptive_weight(
                    *(
                        mean_over_processes(
                            torch.autograd.grad(
                                decoded, last_weight, g.to(decoded), retain_graph=True
                            )[0]
                        )
                        for g in (gradient, adversarial_gradient)
                    )
                )
            weight = weight * (self.config.adversarial * adversarial_scale)
            gradient = gradient + weight * adversarial_gradient
            losses["adversarial"] = adversarial
            losses["adversarial_weight"] = weight
        return PictureGradient(gradient, {name: x.detach() for name, x in losses.items()})

    def _picture_losses(
        self, images: Tensor, decoded: Tensor, quantized: Quantized, step: int
    ) -> dict[str, Tensor]:
        config, difference = self.config, decoded - images
        every = config.perceptual_every
        due = (step + 1) % every == 0  # such as the steps that are logged
        losses = {}
        if config.l1:
            losses["l1"] = config.l1 * difference.abs().mean()
        if config.l2:
            losses["l2"] = config.l2 * difference.square().mean()
        if self.second is not None and config.second_perceptual and due:
            count = math.ceil(config.second_share * len(images))
            with torch.no_grad():
                real = self.second(self.visible(images[:count]))
            fake = self.second(self.visible(decoded[:count]))
            distance = layer_distance(real, fake, self.second_heads)
            losses["second_perceptual"] = every * config.second_perceptual * distance.mean()
        perceptual = config.perceptual if due else 0.0
        if self.features is None or (not perceptual and config.contrastive == "none"):
            return losses
        with torch.no_grad():
            real = self.features(self.visible(images))
        fake = self.features(self.visible(decoded))
        if perceptual:
            distance = layer_distance(real, fake, self.heads)
            losses["perceptual"] = every * perceptual * distance.mean()
        if config.contrastive != "none":
            losses["contrastive"] = config.contrastive_weight * self._contrast(
                real, fake, quantized
            )
        return losses

    def _contrast(self, real: list[Tensor], fake: list[Tensor], quantized: Quantized) -> Tensor:
        height, width = quantized.ids.shape[-2:]
        pairs = list(
            zip(on_token_grid(real, height, width), on_token_grid(fake, height, width), strict=True)
        )
        if self.config.contrastive == "cl" or quantized.perturbation is None:
            terms = [contrastive_loss(y, z) for y, z in pairs]
        else:
            perturbation, mask = quantized.perturbation.flatten(1), quantized.mask.flatten(1)
            terms = [probabilistic_contrastive_loss(y, z, perturbation, mask) for y, z in pairs]
        return torch.stack(terms).mean()


def discriminator_objective(
    discriminator: Discriminator, images: Tensor, decoded: Tensor
) -> Tensor:
    """Return the discriminator's loss on real and reconstructed images (B, C, H, W); a scalar."""
    real, fake = discriminator(torch.cat([images, decoded.detach()])).float().chunk(2)
    return discriminator_loss(real, fake)

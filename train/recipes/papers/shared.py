"""Networks, discriminator and optimizer that recipes at the papers' scale share."""

from __future__ import annotations

from regvq.networks.autoencoder import NetworkConfig
from regvq.networks.discriminator import DiscriminatorConfig

from ...config.tokenizer import OptimizerConfig

PATCH_GAN = DiscriminatorConfig(width=64, layers=3)  # VQ-GAN's

VQGAN_F16 = NetworkConfig(
    widths=(128, 128, 256, 256, 512),
    encoder_blocks=2,
    decoder_blocks=3,
    stem=1,
    latent_dim=256,
    attention=True,
)
"""VQ-GAN's network with one token per 16x16 pixels: 128 channels times 1 1 2 2 4, attention at the
coarsest grid, codes of 256 numbers (taming-transformers' configs). The decoder's third block comes
from its code, not from its configs."""

VQGAN_RATE = 4.5e-6
"""VQ-GAN's learning rate per picture of the whole batch."""


def adam(rate: float) -> OptimizerConfig:
    """Return VQ-GAN's Adam: betas 0.5 and 0.9, a constant rate, also for the discriminator."""
    return OptimizerConfig(
        lr=rate,
        betas=(0.5, 0.9),
        weight_decay=0.0,
        warmup=0.0,
        schedule="constant",
        discriminator_lr=rate,
    )

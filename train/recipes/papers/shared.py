"""Networks, discriminator and optimizer that recipes at the papers' scale share."""

from __future__ import annotations

from regvq.networks.discriminator import DiscriminatorConfig
from regvq.networks.vqgan import VQGANConfig

from ...config.tokenizer import OptimizerConfig

PATCH_GAN = DiscriminatorConfig(width=64, layers=3)  # VQ-GAN's

VQGAN_F16 = VQGANConfig()
"""VQ-GAN's network with one token per 16x16 pixels, to the letter: 128 channels times 1 1 2 2 4,
attention at the coarsest grid and between the middle blocks, codes of 256 numbers
(taming-transformers' configs). The decoder's third block comes from its code, not from its
configs."""

IMPROVED_F8 = VQGANConfig(
    widths=(128, 256, 256, 512),
    blocks=2,
    decoder_blocks=2,
    attention_levels=(),
    middle_blocks=2,
    middle_attention=False,
    z_channels=128,
    latent_dim=128,
    quant_conv=False,
    bias=False,
    out_kernel=1,
    downsample="symmetric",
    upsample="depth_to_space",
)
"""SimVQ's network with one token per 8x8 pixels, to the letter: 128 channels times 1 2 2 4, no
attention, codes of 128 numbers (its authors' config and code, which come from Open-MAGVIT2)."""

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

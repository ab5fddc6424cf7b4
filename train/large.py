"""Recipes at the papers' own scale, for several GPUs: what is theirs and what is inferred.

None of them was run to its end here. Two things are ours throughout: the perceptual loss compares
VGG-19 features without LPIPS's learned weights, and networks have GroupNorm in the discriminator,
16 channels a group, and a gradient norm clipped at 1.
"""

from __future__ import annotations

from core.networks.autoencoder import NetworkConfig
from core.networks.discriminator import DiscriminatorConfig
from core.quantizers import (
    GumbelConfig,
    NSVQConfig,
    QuantizerConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)
from core.tokenizer import TokenizerConfig
from train.config import DataConfig, FeatureConfig, LossConfig, OptimizerConfig, RunConfig
from train.stages import StagesConfig

PATCH_GAN = DiscriminatorConfig(width=64, layers=3)  # VQ-GAN's


def imagenet128_simvq_65k() -> RunConfig:
    """SimVQ on ImageNet at 128 pixels, 65,536 codes of 128 numbers; for 4 GPUs (4 x 64 pictures).

    Aims at rFID 2.24, LPIPS 0.12, PSNR 24.15 (of the batch's mean error), SSIM 0.784 and 100 % of
    the codes used (SimVQ, arXiv 2411.02038; in NSVQ's paper the same method has rFID 2.39).
    From the authors' config and code: network (128 channels times 1 2 2 4, 2 blocks, no
    attention), Adam 1e-4 with betas 0.5 0.9 and no schedule, EMA 0.999, L1 + perceptual + 0.1 times
    a non-saturating GAN without adaptive weight from step 0, 50 epochs. Inferred: the batch of 256
    (from the step number of the released checkpoint) and the crops.
    """
    return _imagenet128(SimVQConfig(size=65_536), batch=64, steps=250_250)


def imagenet128_nsvq_65k() -> RunConfig:
    """NSVQ on ImageNet at 128 pixels, 65,536 codes of 128 numbers; for 4 GPUs (4 x 32 pictures).

    Aims at rFID 2.10, LPIPS 0.12, PSNR 25.21, SSIM 0.788 and 100 % of the codes used (NSVQ, arXiv
    2606.11363, Table 1).
    From the paper: network size, Adam 1e-4 without schedule, EMA, batch 128, 70 epochs of 10,010
    steps, alpha 0.1, tau 0.35, beta 0.25, replacement after 5 epochs, and the three stages with
    their rule. Inferred, since the paper is silent: where codes begin, betas, EMA's decay, and
    SimVQ's discriminator, GAN weight and crops.
    """
    epoch = 10_010
    return _imagenet128(
        NSVQConfig(size=65_536, epoch=epoch),
        batch=32,
        steps=70 * epoch,
        stages=StagesConfig(epoch=epoch),
    )


def ade20k_regvq() -> RunConfig:
    """Reg-VQ on ADE20K at 256 pixels, 1,024 codes, one per 16x16 pixels; for one large GPU.

    Aims at rFID 23.69 and PSNR 18.44 (Reg-VQ, arXiv 2303.06424, Table 2; VQ-GAN there: 28.17 and
    18.89, so a ratio of 0.84 in rFID). From the paper: a head of logits, prior and stochastic-mask
    regularization at 40 %, the probabilistic contrastive loss on VGG-19, VQ-GAN as its base.
    Inferred, since the paper gives none: every loss weight and temperature, codes of 256 numbers,
    optimizer, batch, length and crops; the network, the learning rate of 4.5e-6 a picture and the
    adversarial weight of 0.8 are VQ-GAN's.
    """
    return _ade20k(
        RegVQConfig(posterior="head"),
        LossConfig(contrastive="pcl", adversarial=0.8, discriminator_start=0.1),
    )


def ade20k_vqgan() -> RunConfig:
    """VQ-GAN on ADE20K at 256 pixels, the baseline of ade20k-regvq; for one large GPU.

    Aims at rFID 28.17 and PSNR 18.89 (as the Reg-VQ paper, Table 2, has it). VQ-GAN's own method
    (arXiv 2012.09841 and its code): nearest of 1,024 codes that begin uniform in [-1/K, 1/K], beta
    0.25 on the commitment term, L1 + perceptual + 0.8 times the adaptive weight times a hinge GAN,
    its network and learning rate. Inferred: batch, length, crops and when the discriminator starts.
    """
    return _ade20k(VQConfig(), LossConfig(adversarial=0.8, discriminator_start=0.1))


def ade20k_gumbel() -> RunConfig:
    """Gumbel-VQ on ADE20K at 256 pixels, a baseline of ade20k-regvq; for one large GPU.

    taming-transformers' method: a head of logits, hard Gumbel-softmax whose temperature falls from
    0.9 along a cosine, 5e-4 times each position's KL to uniform, and VQ-GAN's losses. Network,
    batch and length are those of ade20k-vqgan.
    """
    return _ade20k(GumbelConfig(), LossConfig(adversarial=0.8, discriminator_start=0.1))


def _ade20k(quantizer: QuantizerConfig, loss: LossConfig) -> RunConfig:
    return RunConfig(
        tokenizer=TokenizerConfig(
            NetworkConfig(
                widths=(128, 128, 256, 256, 512),
                encoder_blocks=2,
                decoder_blocks=3,
                stem=1,
                latent_dim=256,
                attention=True,
            ),
            quantizer,
        ),
        data=DataConfig(name="ade20k", size=256, crop=(0.8, 1.0), workers=8),
        features=FeatureConfig(name="vgg19"),
        loss=loss,
        discriminator=PATCH_GAN,
        optimizer=_adam(12 * 4.5e-6),
        steps=170_000,
        batch=12,
        save_every=5000,
    )


def _imagenet128(
    quantizer: QuantizerConfig, batch: int, steps: int, stages: StagesConfig | None = None
) -> RunConfig:
    return RunConfig(
        tokenizer=TokenizerConfig(
            NetworkConfig(
                widths=(128, 256, 256, 512),
                encoder_blocks=2,
                decoder_blocks=2,
                stem=1,
                latent_dim=128,
            ),
            quantizer,
        ),
        data=DataConfig(name="imagenet", size=128, crop=(1.0, 1.0), workers=8),
        features=FeatureConfig(name="vgg19"),
        loss=LossConfig(
            adversarial=0.1, adaptive=False, discriminator_start=0.0, listen_after=0.0, ramp=0.0
        ),
        discriminator=PATCH_GAN,
        optimizer=_adam(1e-4),
        stages=stages,
        steps=steps,
        batch=batch,
        save_every=10_010,
    )


def _adam(rate: float) -> OptimizerConfig:
    return OptimizerConfig(
        lr=rate,
        betas=(0.5, 0.9),
        weight_decay=0.0,
        warmup=0.0,
        schedule="constant",
        discriminator_lr=rate,
    )

"""ImageNet at 128 and 256 pixels: SimVQ, NSVQ and their baseline, VQ-GAN."""

from __future__ import annotations

from dataclasses import replace

from regvq.networks.vqgan import VQGANConfig
from regvq.quantizers import NSVQConfig, QuantizerConfig, SimVQConfig, VQConfig
from regvq.tokenizer import TokenizerConfig

from ...config.stages import StagesConfig
from ...config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig
from .shared import IMPROVED_F8, PATCH_GAN, VQGAN_F16, VQGAN_RATE, adam

_PICTURES = 1_281_167
_F16 = replace(IMPROVED_F8, widths=(128, 128, 256, 256, 512))
_NSVQ_EPOCH = 10_010


def imagenet128_simvq_65k() -> RunConfig:
    """SimVQ on ImageNet at 128 pixels, 65,536 codes of 128 numbers; for 4 GPUs (4 x 64 pictures).

    Aims at rFID 2.24, LPIPS 0.12, PSNR 24.15 (of the batch's mean error), SSIM 0.784 and 100 % of
    the codes used (SimVQ, arXiv 2411.02038; in NSVQ's paper the same method has rFID 2.39).
    From the authors' config and code: network (128 channels times 1 2 2 4, 2 blocks, no
    attention), Adam 1e-4 with betas 0.5 0.9 and no schedule, EMA 0.999, L1 + perceptual + 0.1 times
    a non-saturating GAN without adaptive weight from step 0, 50 epochs. Inferred: the batch of 256
    (from the step number of the released checkpoint, 250,250 after 50 epochs) and the crops.
    """
    return _simvq_setting(SimVQConfig(size=65_536))


def imagenet128_nsvq_65k() -> RunConfig:
    """NSVQ on ImageNet at 128 pixels, 65,536 codes of 128 numbers; for 4 GPUs (4 x 32 pictures).

    Aims at rFID 2.10, LPIPS 0.12, PSNR 25.21, SSIM 0.788 and 100 % of the codes used (NSVQ, arXiv
    2606.11363, Table 1).
    From the paper (section 4, appendix D): network size, Adam 1e-4 without schedule, EMA, batch
    128, 70 epochs of 10,010 steps, alpha 0.1, tau 0.35, beta 0.25, replacement after 5 epochs, and
    the three stages with their rule. Inferred, because the paper does not state them: the codes'
    initialization, betas, EMA's decay, crops, and SimVQ's discriminator. The paper's weight of 1 on
    the adversarial term is understood to multiply SimVQ's generator loss, which has its own factor
    of 0.1.
    """
    return _nsvq_setting(IMPROVED_F8, 128)


def imagenet128_vq_65k() -> RunConfig:
    """VQ-GAN's quantizer in the setting of imagenet128-simvq-65k: the baseline of both papers.

    Aims at the papers' figures for it: rFID 3.74, LPIPS 0.17, PSNR 22.20, SSIM 0.706 and 1.4 % of
    the codes used (NSVQ, arXiv 2606.11363, Table 1, copied from SimVQ's, arXiv 2411.02038: 50
    epochs, batch 256). Quantizer: nearest code, uniform initialization, beta 0.25, no restart, as
    in VQ-GAN's code. Inferred: all other settings are SimVQ's.
    """
    return _simvq_setting(VQConfig(size=65_536))


def imagenet256_simvq_65k() -> RunConfig:
    """SimVQ on ImageNet at 256 pixels, 65,536 codes, one per 16x16 pixels; for 4 GPUs (4 x 32).

    Aims at rFID 3.29, LPIPS 0.13, PSNR 22.58 and SSIM 0.5756 (as trained by NSVQ's authors, arXiv
    2606.11363, Table 2). From that paper: one token per 16x16 pixels, 256 tokens, 65,536 codes.
    Inferred: the network (that for 128 pixels with one more halving, 128 channels times 1 1 2 2 4),
    and all else as in imagenet128-nsvq-65k, whose epochs and batch it has.
    """
    return replace(
        _nsvq_setting(_F16, 256),
        tokenizer=TokenizerConfig(_F16, SimVQConfig(size=65_536)),
        stages=None,
    )


def imagenet256_nsvq_65k() -> RunConfig:
    """NSVQ on ImageNet at 256 pixels, 65,536 codes, one per 16x16 pixels; for 4 GPUs (4 x 32).

    Aims at rFID 2.89, LPIPS 0.12, PSNR 23.65 and SSIM 0.5785 (NSVQ, arXiv 2606.11363, Table 2).
    From the paper: one token per 16x16 pixels, 256 tokens, 65,536 codes. Inferred: the network
    (that for 128 pixels with one more halving, 128 channels times 1 1 2 2 4), and all else as in
    imagenet128-nsvq-65k.
    """
    return _nsvq_setting(_F16, 256)


def imagenet256_vq() -> RunConfig:
    """VQ-GAN on ImageNet at 256 pixels, 1,024 codes, one per 16x16 pixels; for 8 GPUs (8 x 12).

    Aims at rFID 7.94 against the validation set (10.54 against the training set; the authors'
    README of taming-transformers, for VQ-GAN, arXiv 2012.09841). From the authors' config: network,
    L1 + perceptual, the adaptive weight times 0.8 from step 250,001 on, 12 pictures per GPU, a
    learning rate of 4.5e-6 per picture, betas 0.5 0.9. Inferred: 8 GPUs (for another number, scale
    optimizer.lr and optimizer.discriminator_lr), the length of 50 epochs, and the crops.
    """
    return _vqgan_setting(1024)


def imagenet256_vq_16k() -> RunConfig:
    """VQ-GAN on ImageNet at 256 pixels, 16,384 codes, one per 16x16 pixels; for 8 GPUs (8 x 12).

    Aims at rFID 4.98 against the validation set (7.41 against the training set; the authors'
    README of taming-transformers). Its settings, and the inferred ones, are those of
    imagenet256-vq.
    """
    return _vqgan_setting(16_384)


def _simvq_setting(quantizer: QuantizerConfig) -> RunConfig:
    return _run(TokenizerConfig(IMPROVED_F8, quantizer), 128, batch=64, steps=250_250)


def _nsvq_setting(network: VQGANConfig, size: int) -> RunConfig:
    quantizer = NSVQConfig(size=65_536, epoch=_NSVQ_EPOCH)
    run = _run(TokenizerConfig(network, quantizer), size, batch=32, steps=70 * _NSVQ_EPOCH)
    return replace(run, stages=StagesConfig(epoch=_NSVQ_EPOCH))


def _run(tokenizer: TokenizerConfig, size: int, batch: int, steps: int) -> RunConfig:
    """Return a run with SimVQ's losses, optimizer and crops (of the whole short side)."""
    return RunConfig(
        tokenizer=tokenizer,
        data=DataConfig(name="imagenet", size=size, crop=(1.0, 1.0), workers=8),
        features=FeatureConfig(name="vgg19"),
        loss=LossConfig(
            adversarial=0.1, adaptive=False, discriminator_start=0.0, listen_after=0.0, ramp=0.0
        ),
        discriminator=PATCH_GAN,
        optimizer=adam(1e-4),
        steps=steps,
        batch=batch,
        save_every=10_010,
    )


def _vqgan_setting(codes: int) -> RunConfig:
    gpus, batch = 8, 12
    steps = 50 * _PICTURES // (gpus * batch)
    return RunConfig(
        tokenizer=TokenizerConfig(VQGAN_F16, VQConfig(size=codes)),
        data=DataConfig(name="imagenet", size=256, crop=(0.8, 1.0), workers=8),
        features=FeatureConfig(name="vgg19"),
        loss=LossConfig(
            adversarial=0.8, discriminator_start=250_001 / steps, listen_after=0.0, ramp=0.0
        ),
        discriminator=PATCH_GAN,
        optimizer=adam(gpus * batch * VQGAN_RATE),
        steps=steps,
        batch=batch,
        save_every=5000,
    )

"""Reg-VQ's four data sets at 256 pixels, and the baselines of its tables (arXiv 2303.06424).

From the paper, for all: 256 pixels; VQ-GAN's setting as the base (L1, perceptual and adversarial
loss); for Reg-VQ a head of logits, prior and stochastic-mask regularization at 40 %, and the
probabilistic contrastive loss, beside the perceptual one, on VGG-19 relu1_2 to relu5_3.

Inferred for all, because neither the paper nor any public code states it: every loss weight and
temperature, 1,024 codes of 256 numbers, one per 16x16 pixels (256 tokens), batch, length and crops.
Network, learning rate per picture, betas and the adversarial weight of 0.8 are those of VQ-GAN's
configs. The recipes of one data set differ only in the quantizer and its losses, so that their
difference, which the paper prints too, can be measured although these settings are unknown.
"""

from __future__ import annotations

from regvq.quantizers import GumbelConfig, QuantizerConfig, RegVQConfig, VQConfig
from regvq.tokenizer import TokenizerConfig

from ...config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig
from .shared import PATCH_GAN, VQGAN_F16, VQGAN_RATE, adam

_BATCH = 12


def ade20k_regvq() -> RunConfig:
    """Reg-VQ on ADE20K at 256 pixels, 1,024 codes, one per 16x16 pixels; for one large GPU.

    Aims at rFID 23.69 and PSNR 18.44 (Reg-VQ, arXiv 2303.06424, Table 2; VQ-GAN there: 28.17 and
    18.89, so a ratio of 0.84 in rFID). The paper's settings and the inferred ones are listed in
    train/recipes/papers/regvq.py. Length: 100 epochs, inferred.
    """
    return _regvq("ade20k", _epochs(100, 20_210))


def ade20k_vq() -> RunConfig:
    """VQ-GAN on ADE20K at 256 pixels: the baseline of ade20k-regvq, in the same setting.

    Aims at rFID 28.17 and PSNR 18.89 (Reg-VQ, arXiv 2303.06424, Table 2, first row). Quantizer as
    in VQ-GAN's code: nearest code, uniform initialization, beta 0.25, no restart. Inferred: see
    train/recipes/papers/regvq.py.
    """
    return _vqgan("ade20k", VQConfig(), _epochs(100, 20_210))


def ade20k_gumbel() -> RunConfig:
    """Gumbel-VQ on ADE20K at 256 pixels, in the setting of ade20k-vq.

    A baseline of Reg-VQ's paper (arXiv 2303.06424). Its reconstruction figure on ADE20K is not
    known to us, so the recipe has no target: compare it with ade20k-vq (rFID 28.17) and
    ade20k-regvq (23.69). From taming-transformers' code: KL of weight 5e-4 at each position,
    temperature from 0.9 to 1e-6 along a cosine. Inferred: see train/recipes/papers/regvq.py.
    """
    return _vqgan("ade20k", GumbelConfig(), _epochs(100, 20_210))


def celebamask_regvq() -> RunConfig:
    """Reg-VQ on CelebA-HQ (CelebAMask-HQ) at 256 pixels; for one large GPU.

    Aims at rFID 10.09 (Reg-VQ, arXiv 2303.06424; generation from its tokens: FID 15.34). The
    paper's settings and the inferred ones are listed in train/recipes/papers/regvq.py. Also
    inferred: whole portraits, 100 epochs and the official split.
    """
    return _regvq("celebamask", _epochs(100, 24_183), crop=(1.0, 1.0))


def celebamask_vq() -> RunConfig:
    """VQ-GAN on CelebA-HQ at 256 pixels: the baseline of celebamask-regvq, in the same setting.

    Aims at rFID 12.03 to 12.74: accounts of the table in Reg-VQ's paper (arXiv 2303.06424) differ.
    Quantizer as in VQ-GAN's code. Inferred: see train/recipes/papers/regvq.py.
    """
    return _vqgan("celebamask", VQConfig(), _epochs(100, 24_183), crop=(1.0, 1.0))


def cub_regvq() -> RunConfig:
    """Reg-VQ on CUB-200-2011 at 256 pixels; for one large GPU.

    Aims at rFID 10.84 (Reg-VQ, arXiv 2303.06424; generation from text: FID 16.93, both from one
    account of the paper). The paper's settings and the inferred ones are listed in
    train/recipes/papers/regvq.py. Also inferred: pictures cropped around the bird, the data set's
    own split (most works on text-to-image train on 150 species and test on 50), and 300 epochs,
    because there are few pictures.
    """
    return _regvq("cub", _epochs(300, 5_994))


def cub_gumbel() -> RunConfig:
    """Gumbel-VQ on CUB-200-2011 at 256 pixels: a baseline of cub-regvq, in the same setting.

    Its figure in Reg-VQ's paper (arXiv 2303.06424), FID 20.39, is of generation from text; its
    reconstruction figure is not known to us. Compare it with cub-regvq (rFID 10.84). Quantizer as
    in ade20k-gumbel. Inferred: see train/recipes/papers/regvq.py.
    """
    return _vqgan("cub", GumbelConfig(), _epochs(300, 5_994))


def coco_regvq() -> RunConfig:
    """Reg-VQ on MS-COCO 2017 at 256 pixels; for one large GPU.

    Aims at rFID 13.76 (Reg-VQ, arXiv 2303.06424; another account: 14.14; generation from text: FID
    19.91). The paper's settings and the inferred ones are listed in train/recipes/papers/regvq.py.
    Length: 30 epochs, inferred. The paper does not state the year of its split.
    """
    return _regvq("coco", _epochs(30, 118_287))


def _regvq(data: str, steps: int, crop: tuple[float, float] = (0.8, 1.0)) -> RunConfig:
    loss = LossConfig(contrastive="pcl", adversarial=0.8, discriminator_start=0.1)
    return _run(data, RegVQConfig(posterior="head"), loss, steps, crop)


def _vqgan(
    data: str, quantizer: QuantizerConfig, steps: int, crop: tuple[float, float] = (0.8, 1.0)
) -> RunConfig:
    loss = LossConfig(adversarial=0.8, discriminator_start=0.1)
    return _run(data, quantizer, loss, steps, crop)


def _run(
    data: str, quantizer: QuantizerConfig, loss: LossConfig, steps: int, crop: tuple[float, float]
) -> RunConfig:
    return RunConfig(
        tokenizer=TokenizerConfig(VQGAN_F16, quantizer),
        data=DataConfig(name=data, size=256, crop=crop, workers=8),
        features=FeatureConfig(name="vgg19"),
        loss=loss,
        discriminator=PATCH_GAN,
        optimizer=adam(_BATCH * VQGAN_RATE),
        steps=steps,
        batch=_BATCH,
        save_every=5000,
    )


def _epochs(count: int, pictures: int) -> int:
    return count * pictures // _BATCH

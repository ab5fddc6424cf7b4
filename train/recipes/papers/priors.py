"""Priors on the tokens of these recipes: Reg-VQ's four and the downstream test of NSVQ.

Reg-VQ's paper states the kind of prior of each data set and its figures, but neither size nor
training: those are taken from the works on which it builds.
"""

from __future__ import annotations

from pathlib import Path

from regvq.conditions import SemanticConfig, TextConfig
from regvq.data.datasets.cub import CUB
from regvq.priors import AutoregressiveConfig, DiffusionConfig, LatentConfig

from ...config.base import AdamWConfig, PicturesConfig
from ...config.prior import PriorRunConfig, SamplingConfig

VQGAN = {"width": 1024, "layers": 24, "heads": 16}
"""VQ-GAN's transformer for semantic synthesis."""
VQ_DIFFUSION = {"width": 1024, "layers": 19, "heads": 16}
"""VQ-Diffusion's transformer for CUB-200 and MS-COCO."""


def ade20k_semantic_ar() -> PriorRunConfig:
    """Reg-VQ's semantic synthesis on ADE20K: autoregressive, 16x16 tokens; for several GPUs.

    Aims at FID 34.47 (Reg-VQ, arXiv 2303.06424, Table 2; VQ-GAN's tokens there: 38.53), on tokens
    of ade20k-regvq (--tokenizer). From the papers: an autoregressive transformer as VQ-GAN's, 24
    layers, 16 heads, width 1024. Inferred: optimizer, batch, length, sampling. Our choice: a cell's
    class is added to its token, where VQ-GAN puts tokens of the map before those of the picture;
    RMSNorm, SwiGLU and rotary positions. Needs --data.root.
    """
    return _semantic("ade20k", classes=150, steps=200_000)


def celebamask_semantic_ar() -> PriorRunConfig:
    """Reg-VQ's semantic synthesis on CelebAMask-HQ: autoregressive, 16x16 tokens; several GPUs.

    Aims at FID 15.34 (Reg-VQ, arXiv 2303.06424, as on the public leaderboard; other notes on the
    paper say 16.97, so treat it with care). Otherwise as ade20k-semantic-ar, with 19 classes. Needs
    --data.root, and the tokens of celebamask-regvq (--tokenizer).
    """
    return _semantic("celebamask", classes=19, steps=200_000)


def cub_text_diffusion() -> PriorRunConfig:
    """Reg-VQ's text-to-image on CUB-200: discrete diffusion, 256 pixels; for several GPUs.

    Aims at FID 16.93 (Reg-VQ, arXiv 2303.06424, from notes on the paper; Gumbel-VQ's tokens there:
    20.39). From VQ-Diffusion's released config: 19 layers, 16 heads, width 1024, T = 100, CLIP
    ViT-B/32's text tower, frozen, AdamW 0.9 0.96 with weight decay 0.045, rate 4.5e-4, 400 epochs.
    Inferred: a batch of 32 in all, 16x16 tokens instead of their 32x32, because Reg-VQ's own
    tokenizer is used, and the 5,994 training pictures of CUB's own list, which this project reads,
    instead of their 8,855; our rate falls along a cosine. Needs --data.root, --tokenizer, and
    open_clip's ViT-B-32 weights of OpenAI.
    """
    return _text("cub", rate=4.5e-4, steps=400 * CUB.counts["train"] // 32, guidance=5.0)


def coco_text_diffusion_large() -> PriorRunConfig:
    """Reg-VQ's text-to-image on MS-COCO: discrete diffusion, 256 pixels; for several GPUs.

    Aims at FID 19.91 (Reg-VQ, arXiv 2303.06424). As cub-text-diffusion, with VQ-Diffusion's rate of
    2e-4 and 100 epochs; guidance 3 is that of its second version on COCO. Inferred: as in
    cub-text-diffusion. Needs --data.root, --tokenizer, and open_clip's ViT-B-32 weights of OpenAI.
    """
    return _text("coco", rate=2e-4, steps=100 * 118_287 // 32, guidance=3.0)


def imagenet128_latent() -> PriorRunConfig:
    """NSVQ's downstream test: latent diffusion on ImageNet at 128 pixels; for 4 GPUs (4 x 32).

    Aims at FID 16.62 with 5,000 generated pictures on NSVQ's tokenizer, 20.11 on SimVQ's (NSVQ,
    arXiv 2606.11363, Table 2; FID of so few pictures is larger than of 50,000). From the paper: 128
    latent channels on 16x16, a U-Net of 256 channels times 1 2 4 with 2 blocks and attention at
    every level, DDPM with 1,000 steps from 1e-4 to 2e-2 that predicts the noise, AdamW 1e-4 without
    decay, batch 128, 100 epochs, DDIM with 50 steps. Inferred: no condition, EMA's decay, heads of
    256 / 4 channels, a constant rate. Needs --data.root and --tokenizer (imagenet128-nsvq-65k).
    """
    return PriorRunConfig(
        prior=LatentConfig(
            latent_dim=128, grid=(16, 16), width=256, factors=(1, 2, 4), blocks=2, head_width=64
        ),
        tokenizer=Path("runs/imagenet128-nsvq-65k"),
        data=PicturesConfig(name="imagenet", size=128, crop=(1.0, 1.0), workers=8),
        optimizer=AdamWConfig(
            lr=1e-4,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            warmup=0.0,
            schedule="constant",
            ema=0.9999,
        ),
        sampling=SamplingConfig(steps=50),
        steps=100 * 10_010,
        batch=32,
        save_every=10_010,
    )


def _semantic(data: str, classes: int, steps: int) -> PriorRunConfig:
    return PriorRunConfig(
        prior=AutoregressiveConfig(
            **VQGAN, grid=(16, 16), conditions=(SemanticConfig(classes=classes, width=256),)
        ),
        tokenizer=Path(f"runs/{data}-regvq"),
        data=PicturesConfig(name=data, size=256, crop=(0.8, 1.0), workers=8),
        optimizer=AdamWConfig(lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, ema=0.9999),
        sampling=SamplingConfig(top_k=100),
        steps=steps,
        batch=32,
        save_every=5000,
    )


def _text(data: str, rate: float, steps: int, guidance: float) -> PriorRunConfig:
    return PriorRunConfig(
        prior=DiffusionConfig(
            **VQ_DIFFUSION,
            grid=(16, 16),
            conditions=(TextConfig(context=77, pretrained="ViT-B-32/openai"),),
        ),
        tokenizer=Path(f"runs/{data}-regvq"),
        data=PicturesConfig(name=data, size=256, crop=(0.8, 1.0), workers=8),
        optimizer=AdamWConfig(lr=rate, betas=(0.9, 0.96), weight_decay=0.045, clip=0.5, ema=0.9999),
        sampling=SamplingConfig(guidance=guidance, top_p=0.86, steps=100),
        steps=steps,
        batch=32,
        save_every=5000,
    )

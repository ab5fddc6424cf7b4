"""Recipes of priors that train without a cluster: on drawn scenes, and on photographs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from regvq.conditions import LabelConfig, SemanticConfig, TextConfig
from regvq.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    LatentConfig,
    LayoutConfig,
    MaskedConfig,
    PriorConfig,
)

from ..config.base import AdamWConfig, PicturesConfig
from ..config.prior import PriorRunConfig, SamplingConfig

SCENES_TEXT = TextConfig(width=96, layers=2, heads=4, context=64, vocabulary=400)
"""Captions of scenes have few words; a text tower with these words alone learns them soon."""
SCENES_MAP = SemanticConfig(classes=24)
TINY = {"width": 128, "layers": 4, "heads": 4}
"""For an hour or less on one processor core, in which a larger prior sees too few pictures."""
MIDDLE = {"width": 192, "layers": 6, "heads": 4}
"""4.9 million parameters with the text tower: for an hour on two cores."""
BIRDS_TEXT = TextConfig(width=128, layers=2, heads=4, vocabulary=2000)
BIRDS = PicturesConfig(name="captions", size=128, crop=(1.0, 1.0), stretch=True)
"""Whole birds: a square of a bird's box would cut off its head or tail."""
SMALL = {"width": 256, "layers": 8, "heads": 4}
"""6.5 million parameters: minutes on a GPU."""
SQUARES = {"width": 256, "layers": 6, "heads": 4, "patch": 4}
"""For the same time: 4 x 4 tokens share a position, so that the transformer costs less than the
layers that see each token."""


def scenes_text_diffusion() -> PriorRunConfig:
    """Text to drawn landscapes by discrete diffusion (VQ-Diffusion): needs no files.

    The process and losses are VQ-Diffusion's; the text tower is small and trained with the prior.
    Sizes, rate and guidance are our choice. Reads token shards (--tokens DIR), or draws and encodes
    its pictures during training. Its network is as large as that of scenes-semantic-ar, so that it
    can be initialized from its weights (--init), which saves most of the first thousands of steps.
    """
    return _many_at_once(
        DiffusionConfig(
            **TINY,
            conditions=(SCENES_TEXT, SCENES_MAP),
            layout=LayoutConfig(),
            stay=20.0,
            focus=4.0,
        ),
        SamplingConfig(guidance=2.0, steps=25),
        steps=10_000,
    )


def scenes_semantic_ar() -> PriorRunConfig:
    """Semantic map to drawn landscapes by an autoregressive transformer: needs no files.

    Each cell is conditioned on its own class and on those around it. Sizes and rate are our choice.
    """
    return _scenes(
        AutoregressiveConfig(**TINY, conditions=(SCENES_MAP,)),
        SamplingConfig(guidance=3.0, top_p=0.98),
        steps=9000,
    )


def scenes_masked() -> PriorRunConfig:
    """Text, semantic map, both or neither to drawn landscapes by parallel decoding (MaskGIT).

    It also completes pictures, because it was trained on any set of known tokens. Needs no files.
    Sizes, squares of tokens and rate are our choice; the mask's schedule is MaskGIT's.
    """
    return _many_at_once(
        MaskedConfig(**SQUARES, conditions=(SCENES_TEXT, SCENES_MAP), drop=0.25),
        SamplingConfig(guidance=2.0, steps=12),
        steps=4000,
    )


def scenes_latent() -> PriorRunConfig:
    """Text to drawn landscapes by latent diffusion, on the tokenizer's latents before quantization.

    A small U-Net and DDPM, as in NSVQ's downstream test; latents are sampled by DDIM in 50 steps,
    then quantized and decoded. Pictures are encoded as they are drawn: token shards hold no
    latents.
    """
    prior = LatentConfig(width=64, factors=(1, 2), blocks=1, conditions=(SCENES_TEXT,))
    return _scenes(prior, SamplingConfig(guidance=2.0, steps=50), steps=4000)


def imagenette_class_ar() -> PriorRunConfig:
    """Class to photograph by an autoregressive transformer: the ten classes of Imagenette.

    Pictures of 128 pixels in the tokens of photos-regvq. All sizes are our choice, for about ten
    thousand pictures: dropout, and --tokens of many crops per picture (train/encode.py
    --augmentations 20). Needs --data.root, a folder in ImageNet's layout.
    """
    return _imagenette(
        AutoregressiveConfig(**SMALL, dropout=0.15, conditions=(LabelConfig(classes=10),)),
        SamplingConfig(guidance=2.0, top_p=0.98),
    )


def imagenette_class_masked() -> PriorRunConfig:
    """Class to photograph by parallel decoding (MaskGIT): the ten classes of Imagenette.

    Tokens, sizes and data as in imagenette-class-ar. It also completes pictures.
    """
    return _imagenette(
        MaskedConfig(**SMALL, dropout=0.1, conditions=(LabelConfig(classes=10),)),
        SamplingConfig(guidance=2.0, steps=16),
    )


def birds_text_ar() -> PriorRunConfig:
    """Text to birds by an autoregressive transformer, on pictures with captions.jsonl (CUB's).

    Pictures of 128 pixels in the tokens of photos-regvq, stretched to squares, so that birds are
    whole. Every step learns from all tokens of a picture, so that it paints birds after a budget
    with which birds-text-diffusion does not. All sizes are our choice, for a few thousand pictures.
    To go on from its run (--init) with --prior.dropout 0.2 and --tokens of sixteen crops per
    picture made plainer birds. Needs --data.root, a folder with captions.jsonl.
    """
    return PriorRunConfig(
        prior=AutoregressiveConfig(**MIDDLE, dropout=0.1, conditions=(BIRDS_TEXT,)),
        tokenizer=Path("checkpoints/photos-regvq"),
        data=BIRDS,
        optimizer=AdamWConfig(lr=1.5e-3, weight_decay=0.05, ema=0.997),
        sampling=SamplingConfig(guidance=3.0, top_p=0.95),
        steps=4000,
        batch=16,
    )


def birds_text_diffusion() -> PriorRunConfig:
    """Text to birds by discrete diffusion, on pictures with captions.jsonl (for example CUB's).

    Data and sizes are those of birds-text-ar, from whose weights it should be initialized (--init),
    because from others it learns too slowly for a processor. Two trials painted plumage and no
    bird: with the layers of imagenette-class-masked after 22,000 pictures, and with squares of
    4 x 4 tokens after 64,000; birds-text-ar paints birds after 24,000. All sizes are our choice.
    Needs --data.root, a folder with captions.jsonl.
    """
    return PriorRunConfig(
        prior=DiffusionConfig(
            **MIDDLE, dropout=0.1, stay=20.0, focus=4.0, conditions=(BIRDS_TEXT,)
        ),
        tokenizer=Path("checkpoints/photos-regvq"),
        data=BIRDS,
        optimizer=AdamWConfig(lr=1e-3, weight_decay=0.045, ema=0.998),
        sampling=SamplingConfig(guidance=2.0, steps=50),
        steps=6000,
        batch=24,
    )


def facades_semantic_ar() -> PriorRunConfig:
    """Semantic map to facades by an autoregressive transformer (CMP Facades, 12 classes).

    Pictures of 128 pixels in the tokens of photos-regvq; half of them are mirrored with their maps.
    Sizes are our choice, for 400 pictures: after 500 steps it is best on held-out ones (6.9 bits
    per token). Six times the weights, initialized from a prior of other photographs, give 0.05
    bits less and no better pictures. Needs --data.root.
    """
    return PriorRunConfig(
        prior=AutoregressiveConfig(**TINY, dropout=0.3, conditions=(SemanticConfig(classes=12),)),
        tokenizer=Path("checkpoints/photos-regvq"),
        data=PicturesConfig(name="facades", size=128, crop=(0.7, 1.0)),
        optimizer=AdamWConfig(lr=1.5e-3, weight_decay=0.1, ema=0.99),
        sampling=SamplingConfig(guidance=1.5),
        steps=600,
        batch=16,
    )


def coco_text_diffusion() -> PriorRunConfig:
    """Text to photographs by discrete diffusion on MS-COCO 2017, for one GPU.

    128 pixels in photos-regvq's tokens, and a text tower that is trained with the prior: a small
    version of coco-text-diffusion-large, which has VQ-Diffusion's sizes. Sizes are our choice.
    Needs --data.root.
    """
    return PriorRunConfig(
        prior=DiffusionConfig(
            width=512,
            layers=12,
            heads=8,
            conditions=(TextConfig(width=256, layers=4, heads=4, vocabulary=16_000),),
        ),
        tokenizer=Path("checkpoints/photos-regvq"),
        data=PicturesConfig(name="coco", size=128, crop=(0.8, 1.0), workers=8),
        optimizer=AdamWConfig(lr=4.5e-4, betas=(0.9, 0.96), weight_decay=0.045),
        sampling=SamplingConfig(guidance=3.0, top_p=0.9, steps=50),
        steps=100_000,
        batch=128,
        save_every=2000,
    )


def _scenes(prior: PriorConfig, sampling: SamplingConfig, steps: int) -> PriorRunConfig:
    return PriorRunConfig(
        prior=prior,
        optimizer=AdamWConfig(lr=3e-3, weight_decay=0.02, ema=0.99),
        sampling=sampling,
        steps=steps,
        batch=16,
    )


def _many_at_once(prior: PriorConfig, sampling: SamplingConfig, steps: int) -> PriorRunConfig:
    return replace(
        _scenes(prior, sampling, steps),
        optimizer=AdamWConfig(lr=2e-3, weight_decay=0.02, ema=0.995),
        batch=24,
    )


def _imagenette(prior: PriorConfig, sampling: SamplingConfig) -> PriorRunConfig:
    return PriorRunConfig(
        prior=prior,
        tokenizer=Path("checkpoints/photos-regvq"),
        data=PicturesConfig(name="imagenet", size=128, crop=(0.75, 1.0)),
        optimizer=AdamWConfig(lr=1e-3, weight_decay=0.05),
        sampling=sampling,
        steps=8000,
        batch=64,
    )

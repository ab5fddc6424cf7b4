"""A tokenizer, token shards and prior runs so small that a test trains them in a second."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from core.conditions import SemanticConfig, TextConfig
from core.networks.autoencoder import NetworkConfig
from core.priors import AutoregressiveConfig, DiffusionConfig, LatentConfig, MaskedConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from train.config.base import AdamWConfig, PicturesConfig
from train.config.prior import PriorRunConfig, SamplingConfig
from train.encode import main as encode

SIZE, CODES = 16, 24
TEXT = TextConfig(width=16, layers=1, heads=2, context=24, vocabulary=40)
SEMANTIC = SemanticConfig(classes=24, width=8)
SMALL = {"width": 16, "layers": 1, "heads": 2}
PRIORS = {
    "autoregressive": AutoregressiveConfig(**SMALL, conditions=(SEMANTIC,)),
    "diffusion": DiffusionConfig(**SMALL, conditions=(TEXT,), timesteps=8),
    "masked": MaskedConfig(**SMALL, conditions=(TEXT, SEMANTIC)),
    "latent": LatentConfig(width=32, factors=(1, 2), blocks=1, conditions=(SEMANTIC,)),
}


def tiny_tokenizer(seed: int = 0) -> Tokenizer:
    """An untrained tokenizer of 4x4 pixels a token."""
    torch.manual_seed(seed)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    return Tokenizer(TokenizerConfig(network, VQConfig(size=CODES, start="uniform"))).eval()


def tokenizer_bundle(folder: Path, seed: int = 0) -> Path:
    """Its bundle."""
    return tiny_tokenizer(seed).save_pretrained(folder).path


def scene_shards(folder: Path, tokenizer: Path, pictures: int = 24) -> Path:
    """So many scenes as its tokens."""
    arguments = ["--checkpoint", tokenizer, "--out", folder, "--data.name", "scenes",
                 "--data.size", SIZE, "--limit", pictures, "--device", "cpu"]  # fmt: skip
    before, sys.argv = sys.argv, ["encode.py", *map(str, arguments)]
    try:
        encode()
    finally:
        sys.argv = before
    return folder


def prior_run(kind: str, tokenizer: Path, **changes: object) -> PriorRunConfig:
    """A run of six steps."""
    run = PriorRunConfig(
        recipe="test",
        prior=PRIORS[kind],
        tokenizer=tokenizer,
        data=PicturesConfig("scenes", size=SIZE, workers=0),
        optimizer=AdamWConfig(lr=3e-3),
        sampling=SamplingConfig(steps=None if kind == "autoregressive" else 3),
        steps=6,
        batch=4,
        save_every=100,
        log_every=2,
    )
    return replace(run, **changes)

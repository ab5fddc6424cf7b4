"""Runs that train in a fraction of a second: ``--recipe tests/faults/recipes.py:NAME``."""

from __future__ import annotations

from dataclasses import replace

from regvq_train.config.base import PicturesConfig
from regvq_train.config.prior import PriorRunConfig
from regvq_train.config.stages import StagesConfig
from regvq_train.config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig

from regvq.networks.autoencoder import NetworkConfig
from regvq.networks.discriminator import DiscriminatorConfig
from regvq.priors import AutoregressiveConfig
from regvq.quantizers import NSVQConfig, VQConfig
from regvq.tokenizer import TokenizerConfig

NETWORK = NetworkConfig(widths=(8,), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
SHORT = {"steps": 4, "batch": 2, "save_every": 2, "log_every": 1, "precision": "fp32"}


def tokenizer() -> RunConfig:
    """A tokenizer."""
    return RunConfig(
        tokenizer=TokenizerConfig(NETWORK, VQConfig(size=16, codebook="ema", start="data")),
        data=DataConfig("folder", size=16, workers=0),
        features=FeatureConfig(name="none"),
        loss=LossConfig(perceptual=0.0),
        **SHORT,
    )


def nsvq() -> RunConfig:
    """A tokenizer with NSVQ's stages and a discriminator."""
    return replace(
        tokenizer(),
        tokenizer=TokenizerConfig(NETWORK, NSVQConfig(size=16, epoch=1, replacement_warmup=0)),
        loss=LossConfig(perceptual=0.0, adversarial=0.5, discriminator_start=0.0, ramp=0.0),
        discriminator=DiscriminatorConfig(width=8, layers=1),
        stages=StagesConfig(epoch=1, earliest=0.0, latest=0.25, warmup=1, ramp=1),
        steps=6,
    )


def prior() -> PriorRunConfig:
    """A prior, on token shards."""
    return PriorRunConfig(
        prior=AutoregressiveConfig(width=16, layers=1, heads=2),
        data=PicturesConfig("folder", size=16, workers=0),
        **SHORT,
    )

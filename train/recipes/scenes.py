"""Recipes of tokenizers for drawn scenes, which need no files and no pretrained features."""

from __future__ import annotations

from regvq.networks.autoencoder import NetworkConfig
from regvq.quantizers import QuantizerConfig, RegVQConfig, VQConfig
from regvq.tokenizer import TokenizerConfig

from ..config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig


def scenes_regvq() -> RunConfig:
    """Reg-VQ on drawn landscapes: needs no files and no pretrained features.

    One code per 4x4 pixels: with 8x8, houses, boats and birds, which captions name, are lost. The
    shipped bundle was trained further from there with a perceptual loss, as its card says, which
    needs the weights of the features.
    """
    return _scenes(RegVQConfig())


def scenes_vq() -> RunConfig:
    """VQ-VAE's quantizer on drawn landscapes: needs no files and no pretrained features."""
    return _scenes(VQConfig())


def _scenes(quantizer: QuantizerConfig) -> RunConfig:
    return RunConfig(
        tokenizer=TokenizerConfig(NetworkConfig(widths=(64, 128)), quantizer),
        data=DataConfig(),
        features=FeatureConfig(name="none"),
        loss=LossConfig(l2=1.0, perceptual=0.0),
        steps=1800,
    )

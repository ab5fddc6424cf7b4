"""Recipes: each a function that returns the whole config of a run, named DATA-QUANTIZER."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from core.networks.autoencoder import NetworkConfig
from core.quantizers import QuantizerConfig, RegVQConfig, VQConfig
from core.tokenizer import TokenizerConfig
from train.config import DataConfig, FeatureConfig, LossConfig, RunConfig


def photos_regvq() -> RunConfig:
    """Reg-VQ on your photographs: 1,024 codes, one per 8x8 pixels; trains on a laptop's CPU.

    Prior and stochastic-mask regularization (40 %), probabilistic contrastive loss, perceptual and
    adversarial loss. Made for crops of 64 pixels; the network is fully convolutional, so the result
    takes pictures of any size. Needs --data.root, a folder of pictures.
    """
    return _photos(
        RegVQConfig(), LossConfig(l2=1.0, perceptual=0.5, contrastive="pcl", adversarial=0.25)
    )


def photos_vq() -> RunConfig:
    """VQ-GAN's quantizer on your photographs, with the network and budget of photos-regvq.

    Nearest code, codebook and commitment loss, no regularizer and no restart of dead codes: the
    baseline of the Reg-VQ paper. Codes begin on latents of the first batch: from VQ-GAN's uniform
    start this small network falls to a dozen codes at once. Needs --data.root, a folder of
    pictures.
    """
    return _photos(VQConfig(start="data"), LossConfig(l2=1.0, perceptual=0.5, adversarial=0.25))


def scenes_regvq() -> RunConfig:
    """Reg-VQ on drawn landscapes: needs no files at all, and no pretrained features."""
    return _scenes(RegVQConfig())


def scenes_vq() -> RunConfig:
    """VQ-VAE's quantizer on drawn landscapes: needs no files at all, and no pretrained features."""
    return _scenes(VQConfig())


def _photos(quantizer: QuantizerConfig, loss: LossConfig) -> RunConfig:
    return RunConfig(
        tokenizer=TokenizerConfig(NetworkConfig(), quantizer),
        data=DataConfig(name="folder", crop=(0.0, 0.6), last_size=128),
        loss=loss,
        steps=5000,
    )


def _scenes(quantizer: QuantizerConfig) -> RunConfig:
    run = _photos(quantizer, LossConfig(l2=1.0, perceptual=0.0))
    return replace(run, data=DataConfig(), features=FeatureConfig(name="none"), steps=4000)


RECIPES: dict[str, Callable[[], RunConfig]] = {
    recipe.__name__.replace("_", "-"): recipe
    for recipe in (photos_regvq, photos_vq, scenes_regvq, scenes_vq)
}


def config_of(name: str) -> RunConfig:
    """The config of the recipe called ``name``, which it bears."""
    return replace(RECIPES[name](), recipe=name)

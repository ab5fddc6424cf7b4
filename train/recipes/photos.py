"""Recipes: each a function that returns the whole config of a run, named DATA-QUANTIZER."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from regvq.networks.autoencoder import NetworkConfig
from regvq.quantizers import (
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    QuantizerConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)
from regvq.tokenizer import TokenizerConfig

from ..config.tokenizer import DataConfig, FeatureConfig, LossConfig, OptimizerConfig, RunConfig
from ..loop.stages import StagesConfig
from .papers import PAPERS

VQGAN_LOSS = LossConfig(l2=1.0, perceptual=0.5, adversarial=0.25)


def photos_regvq() -> RunConfig:
    """Reg-VQ on your photographs: 1,024 codes, one per 8x8 pixels; trains on a laptop's CPU.

    Prior and stochastic-mask regularization (40 %), probabilistic contrastive loss, perceptual and
    adversarial loss. Made for crops of 64 pixels; the network is fully convolutional, so the result
    takes pictures of any size. Needs --data.root, a folder of pictures.
    """
    return _photos(
        RegVQConfig(), LossConfig(l2=1.0, perceptual=0.5, contrastive="pcl", adversarial=0.25)
    )


def photos_regvq_decoder() -> RunConfig:
    """The decoder of photos-regvq trained on for realism, with encoder and codes frozen.

    Reg-VQ's authors name it as a limitation that encoder and decoder share one objective (appendix
    C) and propose to split it. Here pictures keep the tokens of --init (photos-regvq as shipped),
    and the decoder alone follows a heavier perceptual loss and VQ-GAN's adversarial weight of 0.8
    from the first step on. Tokens are still drawn at 40 % of the positions, as a prior will hand
    over imperfect ones. Weights, rate and length are inferred. Needs --data.root, a folder of
    pictures.
    """
    loss = LossConfig(
        contrastive="pcl", adversarial=0.8, discriminator_start=0.0, listen_after=0.1, ramp=0.2
    )
    return replace(
        _photos(RegVQConfig(), loss),
        init=Path("checkpoints/photos-regvq"),
        train_only="decoder",
        optimizer=OptimizerConfig(lr=2e-4),
        steps=2000,
    )


def birds_facades_regvq() -> RunConfig:
    """photos-regvq, trained on with pictures of birds and of house fronts, 128 pixels a side.

    The tokenizer of birds-text-diffusion and facades-semantic-ar. Crops show the pictures at about
    their own size; the rate is a third of the usual one: codes and network are to keep what they
    know. Length, rate and crops are ours. Needs --data.root, a folder with pictures of both.
    """
    run = photos_regvq()
    return replace(
        run,
        init=Path("checkpoints/photos-regvq"),
        data=replace(run.data, crop=(0.4, 0.7), last_size=None),
        optimizer=OptimizerConfig(lr=run.optimizer.lr / 3),
        steps=400,
    )


def photos_vq() -> RunConfig:
    """VQ-GAN's quantizer on your photographs, with the network and budget of photos-regvq.

    Nearest code, codebook and commitment loss, no regularizer and no restart of dead codes: the
    baseline of the Reg-VQ paper. Codes begin on latents of the first batch: from VQ-GAN's uniform
    start this small network falls to a dozen codes at once. Ours too are the squared error beside
    L1 and the smaller perceptual and adversarial weights, as in photos-regvq; ade20k-vq has
    VQ-GAN's own throughout. Needs --data.root, a folder of pictures.
    """
    return _photos(VQConfig(start="data"), VQGAN_LOSS)


def photos_vqvae() -> RunConfig:
    """VQ-VAE on your photographs (arXiv 1711.00937): squared error alone, gradient codebook.

    No perceptual and no adversarial loss, so no pretrained features are needed. Codes begin as in
    photos-vq, whose network and budget it shares. Needs --data.root, a folder of pictures.
    """
    loss = LossConfig(l1=0.0, l2=1.0, perceptual=0.0)
    return replace(_photos(VQConfig(start="data"), loss), features=FeatureConfig(name="none"))


def photos_simvq() -> RunConfig:
    """SimVQ (arXiv 2411.02038) on your photographs, with the losses and budget of photos-vq.

    Frozen Gaussian codes behind a trainable linear layer. Needs --data.root, a folder of pictures.
    """
    return _photos(SimVQConfig(), VQGAN_LOSS)


def photos_nsvq() -> RunConfig:
    """NSVQ (arXiv 2606.11363) on your photographs, with the losses and budget of photos-vq.

    Dense non-stationary loss, codebook replacement, and three stages: the run counts as 70 epochs,
    as many as the paper trains; the encoder is frozen by the paper's rule between the middle of
    the run and epoch 50, where the paper's own run did it (the bounds are ours: in a run as short
    as this one the commitment loss is lowest at the very beginning). Needs --data.root, a folder
    of pictures.
    """
    run = _photos(NSVQConfig(), VQGAN_LOSS)
    epoch = run.steps // 70
    return replace(
        run,
        tokenizer=replace(run.tokenizer, quantizer=NSVQConfig(epoch=epoch)),
        stages=StagesConfig(epoch=epoch, earliest=0.5, latest=50 / 70),
    )


def photos_regvq_fast() -> RunConfig:
    """photos-regvq with codes that learn ten times as fast as the network.

    No paper has this. In the study (RESULTS.md: 400 steps, photographs not trained on) it takes
    Reg-VQ from 75.7 to 94.6 % of 1,024 codes used, from 20.32 to 20.66 dB and from a SqueezeNet-FD
    of 2,750 to 2,543: in a short run codes cannot keep up with the latents at the network's rate.
    Needs --data.root, a folder of pictures.
    """
    return replace(photos_regvq(), codes_rate=10.0)


def photos_nsvq_fast() -> RunConfig:
    """photos-nsvq with codes that learn ten times as fast as the network.

    No paper has this. In the study (as for photos-regvq-fast) it takes NSVQ from 22.9 to 89.8 % of
    1,024 codes used, from 20.20 to 21.18 dB and from a SqueezeNet-FD of 2,795 to 2,518: once the
    encoder is frozen, codes that had not caught up die one after the other. Needs --data.root, a
    folder of pictures.
    """
    return replace(photos_nsvq(), codes_rate=10.0)


def photos_gumbel() -> RunConfig:
    """Gumbel-VQ on your photographs, with the losses and budget of photos-vq.

    Codes are drawn in training at a temperature that falls from 0.9 along a cosine, with KL towards
    uniform at each position, as taming-transformers' f8 model; argmax at evaluation. Needs
    --data.root, a folder of pictures.
    """
    return _photos(GumbelConfig(), VQGAN_LOSS)


def photos_fsq() -> RunConfig:
    """FSQ (arXiv 2309.15505) on your photographs, with the losses and budget of photos-vq.

    Levels 8 5 5 5, which make 1,000 codes; nothing about them is learned. Needs --data.root, a
    folder of pictures.
    """
    return _photos(FSQConfig(), VQGAN_LOSS)


def scenes_regvq() -> RunConfig:
    """Reg-VQ on drawn landscapes: needs no files at all, and no pretrained features.

    One code per 4x4 pixels: at 8x8 houses, boats and birds, which captions name, are lost. The
    bundle that ships was trained on from here with a perceptual loss, as its card says, which needs
    the weights of the features.
    """
    return _scenes(RegVQConfig())


def scenes_vq() -> RunConfig:
    """VQ-VAE's quantizer on drawn landscapes: needs no files at all, and no pretrained features."""
    return _scenes(VQConfig())


def photos_lfq() -> RunConfig:
    """LFQ (MAGVIT-v2, as in Open-MAGVIT2) on your photographs: ten signs, 1,024 codes.

    Entropy and commitment loss have Open-MAGVIT2's weights; all else is as in photos-vq. Needs
    --data.root, a folder of pictures.
    """
    return _photos(LFQConfig(), VQGAN_LOSS)


def photos_ibq() -> RunConfig:
    """IBQ (arXiv 2412.02692) on your photographs, with the losses and budget of photos-vq.

    The gradient reaches every code through the softmax of its dot product with the latent. Needs
    --data.root, a folder of pictures.
    """
    return _photos(IBQConfig(), VQGAN_LOSS)


def _photos(quantizer: QuantizerConfig, loss: LossConfig) -> RunConfig:
    return RunConfig(
        tokenizer=TokenizerConfig(NetworkConfig(), quantizer),
        data=DataConfig(name="folder", crop=(0.0, 0.6), last_size=128),
        loss=loss,
        steps=5000,
    )


def _scenes(quantizer: QuantizerConfig) -> RunConfig:
    run = _photos(quantizer, LossConfig(l2=1.0, perceptual=0.0))
    return replace(
        run,
        tokenizer=TokenizerConfig(NetworkConfig(widths=(64, 128)), quantizer),
        data=DataConfig(),
        features=FeatureConfig(name="none"),
        steps=1800,
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {
    recipe.__name__.replace("_", "-"): recipe
    for recipe in (
        photos_regvq,
        photos_regvq_decoder,
        birds_facades_regvq,
        photos_regvq_fast,
        photos_nsvq_fast,
        photos_vq,
        photos_vqvae,
        photos_simvq,
        photos_nsvq,
        photos_gumbel,
        photos_fsq,
        photos_lfq,
        photos_ibq,
        scenes_regvq,
        scenes_vq,
        *PAPERS,
    )
}


def config_of(name: str) -> RunConfig:
    """The config of the recipe called ``name``, which it bears."""
    return replace(RECIPES[name](), recipe=name)

"""Recipes of tokenizers for your own photographs, sized for a laptop's CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from regvq.networks.autoencoder import NetworkConfig
from regvq.networks.vqgan import VQGANConfig
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

from ..config.stages import StagesConfig
from ..config.tokenizer import DataConfig, FeatureConfig, LossConfig, OptimizerConfig, RunConfig

VQGAN_LOSS = LossConfig(l2=1.0, perceptual=0.5, adversarial=0.25)


def photos_regvq() -> RunConfig:
    """Reg-VQ on your photographs: 1,024 codes, one per 8x8 pixels; trains on a laptop's CPU.

    Prior and stochastic-mask regularization (40 %), probabilistic contrastive loss, perceptual and
    adversarial loss. Trains on crops of 64 pixels; the network is fully convolutional, so the
    tokenizer takes pictures of any size. Needs --data.root, a folder of pictures.
    """
    return _photos(
        RegVQConfig(), LossConfig(l2=1.0, perceptual=0.5, contrastive="pcl", adversarial=0.25)
    )


def photos_regvq_decoder() -> RunConfig:
    """The decoder of photos-regvq, trained further for realism, with encoder and codes frozen.

    Reg-VQ's authors name it as a limitation that encoder and decoder share one objective (appendix
    C) and propose to split it. In this recipe pictures keep the tokens of --init (photos-regvq as
    shipped), and only the decoder is trained, with a larger perceptual weight and VQ-GAN's
    adversarial weight of 0.8 from the first step on. Codes are still drawn at 40 % of the
    positions, because a prior's tokens are imperfect, too. Weights, rate and length are inferred.
    Needs --data.root, a folder of pictures.
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
    """photos-regvq, trained further on pictures of birds and of facades, 128 pixels per side.

    The tokenizer of birds-text-diffusion and facades-semantic-ar. Crops show the pictures at about
    their original scale. The learning rate is a third of that of photos-regvq, so that codes and
    network keep what they have learned. Length, rate and crops are our choice. Needs --data.root, a
    folder with pictures of both.
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
    baseline of the Reg-VQ paper. Codes are initialized to latents of the first batch, because from
    VQ-GAN's uniform initialization this small network collapses to a dozen codes at once. Our
    choice, as in photos-regvq, are also the squared error beside L1 and the smaller perceptual and
    adversarial weights; ade20k-vq has VQ-GAN's own settings throughout. Needs --data.root, a folder
    of pictures.
    """
    return _photos(VQConfig(start="data"), VQGAN_LOSS)


def photos_vqgan() -> RunConfig:
    """VQ-GAN's own network from scratch on your pictures: f = 16, 1,024 codes, for a GPU.

    The network of taming-transformers' ImageNet tokenizers (72 M parameters), as imagenet256-vq
    has it, on crops of 256 pixels, with VQ-GAN's losses and rate for a batch of 8. Codes start on
    latents of the first batch. Start of the discriminator, length and crops are INFERRED. Needs
    --data.root, a folder of pictures.
    """
    return RunConfig(
        tokenizer=TokenizerConfig(VQGANConfig(), VQConfig(start="data")),
        data=DataConfig(name="folder", size=256, crop=(0.5, 1.0), workers=4),
        loss=LossConfig(adversarial=0.8, discriminator_start=0.3),
        optimizer=OptimizerConfig(
            lr=8 * 4.5e-6, betas=(0.5, 0.9), weight_decay=0.0, discriminator_lr=8 * 4.5e-6
        ),
        batch=8,
        steps=100_000,
    )


def photos_vqvae() -> RunConfig:
    """VQ-VAE on your photographs (arXiv 1711.00937): squared error only, gradient codebook.

    No perceptual and no adversarial loss, so no pretrained features are needed. Codes are
    initialized as in photos-vq; network and budget are the same, too. Needs --data.root, a folder
    of pictures.
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

    Dense non-stationary loss, codebook replacement, and three stages. The run counts as 70 epochs,
    the paper's number. The encoder is frozen by the paper's rule between the middle of the run and
    epoch 50, at which the paper's own run froze it (the bounds are our choice: in a run as short as
    this one the commitment loss is lowest at the very beginning). Needs --data.root, a folder of
    pictures.
    """
    run = _photos(NSVQConfig(), VQGAN_LOSS)
    epoch = run.steps // 70
    return replace(
        run,
        tokenizer=replace(run.tokenizer, quantizer=NSVQConfig(epoch=epoch)),
        stages=StagesConfig(epoch=epoch, earliest=0.5, latest=50 / 70),
    )


def photos_regvq_fast() -> RunConfig:
    """photos-regvq with a learning rate ten times as large for the codes as for the network.

    No paper has this. In the study (RESULTS.md: 400 steps, photographs not trained on) it raises
    Reg-VQ from 75.7 to 94.6 % of 1,024 codes used and from 20.32 to 20.66 dB, and lowers its
    SqueezeNet-FD from 2,750 to 2,543: in a short run codes cannot follow the latents at the
    network's rate. Needs --data.root, a folder of pictures.
    """
    return replace(photos_regvq(), codes_rate=10.0)


def photos_nsvq_fast() -> RunConfig:
    """photos-nsvq with a learning rate ten times as large for the codes as for the network.

    No paper has this. In the study (as for photos-regvq-fast) it raises NSVQ from 22.9 to 89.8 % of
    1,024 codes used and from 20.20 to 21.18 dB, and lowers its SqueezeNet-FD from 2,795 to 2,518:
    after the encoder is frozen, codes that are still far from the latents die one after the other.
    Needs --data.root, a folder of pictures.
    """
    return replace(photos_nsvq(), codes_rate=10.0)


def photos_gumbel() -> RunConfig:
    """Gumbel-VQ on your photographs, with the losses and budget of photos-vq.

    In training, codes are drawn at a temperature that falls from 0.9 along a cosine, with KL
    towards uniform at each position, as in taming-transformers' f8 model; evaluation takes the
    argmax. Needs --data.root, a folder of pictures.
    """
    return _photos(GumbelConfig(), VQGAN_LOSS)


def photos_fsq() -> RunConfig:
    """FSQ (arXiv 2309.15505) on your photographs, with the losses and budget of photos-vq.

    Levels 8 5 5 5, which make 1,000 codes; no part of the codebook is learned. Needs --data.root, a
    folder of pictures.
    """
    return _photos(FSQConfig(), VQGAN_LOSS)


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

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

PHOTOS_NETWORK = NetworkConfig(
    widths=(48, 96, 192), decoder_widths=(32, 112, 240), last_width=16, latent_dim=16
)
"""4.0 M parameters: the decoder is wider than the encoder, except at the finest level, which costs
most. The last convolution removes the grid that a pixel shuffle leaves."""
PHOTOS_LOSS = LossConfig(l2=1.0, lpips=True)


def photos_regvq() -> RunConfig:
    """Reg-VQ on your photographs: 1,024 codes, one per 8x8 pixels; trains on a laptop's CPU.

    Prior and stochastic-mask regularization (40 %); absolute and squared error and LPIPS on
    AlexNet, which takes a twelfth of a step. There is no discriminator and no contrastive loss:
    both gained less than the steps that they cost (docs/tokenizers.md). Codes learn ten times as
    fast as the network, because in a short run they cannot follow the latents at the network's
    rate.
    Trains on crops of 64 pixels; the network is fully convolutional, so the tokenizer takes
    pictures of any size. Needs --data.root, a folder of pictures.
    """
    return _photos(RegVQConfig())


def photos_regvq_last() -> RunConfig:
    """The last part of photos-regvq's training (--init): also VGG-16's LPIPS, larger crops.

    VGG-16 sees the detail that AlexNet's stride of four skips, but costs several times as much, so
    it comes last and sees a third of each batch. The mask's ratio falls to 0, because a picture's
    own tokens are those by argmax. Needs --init, the run of photos-regvq, and --data.root.
    """
    return _last(photos_regvq(), RegVQConfig(mask_fall=(0.4, 0.9)))


def photos_regvq_16k() -> RunConfig:
    """photos-regvq with 16,384 codes, which start on latents of its encoder.

    Network and losses are those of photos-regvq-last. Needs --data.root, a folder of pictures.
    """
    return _grown(RegVQConfig(size=16_384, mask_fall=(0.4, 0.9)))


def imagenette128_nsvq_16k() -> RunConfig:
    """NSVQ (arXiv 2606.11363) with 16,384 codes, which start on latents of photos-regvq's encoder.

    The papers' setting of 128 pixels in 256 tokens, at a size that a laptop trains, on Imagenette
    and other photographs. Dense loss and replacement are the paper's; its stages are left out,
    because the encoder is already trained. Needs --data.root, a folder of pictures.
    """
    return _grown(NSVQConfig(size=16_384))


def imagenette128_simvq_16k() -> RunConfig:
    """SimVQ (arXiv 2411.02038) with 16,384 codes, which start on latents of photos-regvq's encoder.

    The frozen codes behind the linear layer are whitened latents instead of Gaussian noise, which
    is our choice. The layer learns at the network's rate, because each of its steps moves all codes
    at once. Pictures and sizes as in imagenette128-nsvq-16k. Needs --data.root, a folder of
    pictures.
    """
    return replace(_grown(SimVQConfig(size=16_384)), codes_rate=1.0)


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
        lpips=True,
        perceptual=2.0,
        contrastive="pcl",
        adversarial=0.8,
        discriminator_start=0.0,
        listen_after=0.1,
        ramp=0.2,
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

    Losses and crops are those of photos-regvq-last; the learning rate is half of its rate, so that
    codes and network keep what they have learned. Length and rate are our choice. Needs
    --data.root, a folder with pictures of both.
    """
    return replace(
        _last(photos_regvq(), RegVQConfig(mask_fall=(0.0, 0.9))),
        init=Path("checkpoints/photos-regvq"),
        optimizer=OptimizerConfig(lr=2.5e-4),
        steps=1000,
    )


def photos_vq() -> RunConfig:
    """VQ-GAN's quantizer on your photographs, with network, losses and budget of photos-regvq.

    Nearest code, codebook and commitment loss, no regularizer and no restart of dead codes: the
    baseline of the Reg-VQ paper. Codes are initialized to latents of the first batch, because from
    VQ-GAN's uniform initialization this small network collapses to a dozen codes at once.
    ade20k-vq has VQ-GAN's own losses. Needs --data.root, a folder of pictures.
    """
    return _photos(VQConfig(start="data"))


def photos_vq_last() -> RunConfig:
    """The last part of photos-vq's training (--init), with the losses of photos-regvq-last.

    Needs --init, the run of photos-vq, and --data.root.
    """
    return _last(photos_vq(), VQConfig(start="data"))


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
    return _photos(SimVQConfig())


def photos_nsvq(steps: int = 10_000) -> RunConfig:
    """NSVQ (arXiv 2606.11363) on your photographs, with the losses and budget of photos-vq.

    Dense non-stationary loss, codebook replacement, and three stages. The run counts as 70 epochs,
    the paper's number, whatever --steps is. The encoder is frozen by the paper's rule between the
    middle of the run and epoch 50, at which the paper's own run froze it (the bounds are our
    choice: in a run as short as this one the commitment loss is lowest at the very beginning).
    Needs --data.root, a folder of pictures.
    """
    run = replace(_photos(NSVQConfig()), steps=steps)
    epoch = max(1, steps // 70)
    return replace(
        run,
        tokenizer=replace(run.tokenizer, quantizer=NSVQConfig(epoch=epoch)),
        stages=StagesConfig(epoch=epoch, earliest=0.5, latest=50 / 70),
    )


def photos_gumbel() -> RunConfig:
    """Gumbel-VQ on your photographs, with the losses and budget of photos-vq.

    In training, codes are drawn at a temperature that falls from 0.9 along a cosine, with KL
    towards uniform at each position, as in taming-transformers' f8 model; evaluation takes the
    argmax. Needs --data.root, a folder of pictures.
    """
    return _photos(GumbelConfig())


def photos_fsq() -> RunConfig:
    """FSQ (arXiv 2309.15505) on your photographs, with the losses and budget of photos-vq.

    Levels 8 5 5 5, which make 1,000 codes; no part of the codebook is learned. Needs --data.root, a
    folder of pictures.
    """
    return _photos(FSQConfig())


def photos_lfq() -> RunConfig:
    """LFQ (MAGVIT-v2, as in Open-MAGVIT2) on your photographs: ten signs, 1,024 codes.

    Entropy and commitment loss have Open-MAGVIT2's weights; all else is as in photos-vq. Needs
    --data.root, a folder of pictures.
    """
    return _photos(LFQConfig())


def photos_ibq() -> RunConfig:
    """IBQ (arXiv 2412.02692) on your photographs, with the losses and budget of photos-vq.

    The gradient reaches every code through the softmax of its dot product with the latent. Needs
    --data.root, a folder of pictures.
    """
    return _photos(IBQConfig())


def _photos(quantizer: QuantizerConfig, loss: LossConfig = PHOTOS_LOSS) -> RunConfig:
    return RunConfig(
        tokenizer=TokenizerConfig(PHOTOS_NETWORK, quantizer),
        data=DataConfig(name="folder", crop=(0.25, 0.7)),
        loss=loss,
        optimizer=OptimizerConfig(lr=1e-3),
        codes_rate=10.0,
        batch=24,
        steps=10_000,
    )


def _last(run: RunConfig, quantizer: QuantizerConfig) -> RunConfig:
    """Return the last part of a run, with VGG-16 beside AlexNet and crops of 128 pixels."""
    return replace(
        run,
        tokenizer=replace(run.tokenizer, quantizer=quantizer),
        data=replace(run.data, size=128, crop=(0.7, 1.0)),
        features=FeatureConfig(name="alexnet"),
        second_features=FeatureConfig(name="vgg16"),
        loss=replace(run.loss, l2=2.0, second_perceptual=0.7, second_share=1 / 3),
        optimizer=OptimizerConfig(lr=5e-4),
        batch=12,
        seed=2,
        steps=4000,
    )


def _grown(quantizer: QuantizerConfig) -> RunConfig:
    return replace(
        _last(photos_regvq(), quantizer),
        init=Path("checkpoints/photos-regvq"),
        codes_from="latents",
    )

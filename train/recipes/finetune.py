"""Recipes that start from a tokenizer, whatever its network and quantizer are."""

from __future__ import annotations

from ..config.tokenizer import DataConfig, FeatureConfig, LossConfig, OptimizerConfig, RunConfig


def finetune() -> RunConfig:
    """Any tokenizer, imported ones too, trained further on your pictures: needs --init DIR.

    Network, quantizer and value range are those of --init (a bundle of train/import_tokenizer.py or
    a run), and the losses those of its family (train/loop/adopt.py), if no --loss flag is given.
    With --train-only decoder, encoder and codes remain as they are, so that pictures keep their
    tokens. The rate is the one of VQ-GAN's authors for a batch of 8. Crops, length and averaging
    are INFERRED. Needs --data.root, a folder of pictures, and for networks of 70 M parameters a
    GPU.
    """
    return RunConfig(
        adopt_init=True,
        data=DataConfig(name="folder", size=256, crop=(0.5, 1.0)),
        features=FeatureConfig(),
        loss=LossConfig(),
        optimizer=OptimizerConfig(
            lr=8 * 4.5e-6, betas=(0.5, 0.9), weight_decay=0.0, discriminator_lr=8 * 4.5e-6
        ),
        batch=8,
        steps=5000,
    )

"""Every default of a config: a run that states nothing has these values.

`test_paper_defaults.py` gives the sources of published ones. A default that changes here changes
what old commands do, so the changelog must say so.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from core.conditions.label import LabelConfig
from core.conditions.semantic import SemanticConfig
from core.conditions.text import TextConfig
from core.networks.autoencoder import NetworkConfig
from core.networks.discriminator import DiscriminatorConfig
from core.networks.vqgan import VQGANConfig
from core.priors.autoregressive import AutoregressiveConfig
from core.priors.diffusion import DiffusionConfig
from core.priors.latent import LatentConfig
from core.priors.masked import MaskedConfig
from core.priors.options import SamplingOptions
from core.priors.token_prior import LayoutConfig
from core.quantizers.bsq import BSQConfig
from core.quantizers.diveq import DiVeQConfig
from core.quantizers.fsp import FSPConfig
from core.quantizers.fsq import FSQConfig
from core.quantizers.gumbel import GumbelConfig
from core.quantizers.ibq import IBQConfig
from core.quantizers.lfq import LFQConfig
from core.quantizers.nsvq import NSVQConfig
from core.quantizers.regvq import RegVQConfig
from core.quantizers.simvq import SimVQConfig
from core.quantizers.vq import VQConfig
from train.config.base import AdamWConfig, CommonConfig, PicturesConfig
from train.config.prior import SamplingConfig
from train.config.stages import StagesConfig
from train.config.tokenizer import DataConfig, FeatureConfig, LossConfig, OptimizerConfig

DEFAULTS: dict[type, dict[str, Any]] = {
    BSQConfig: {
        "size": 1024,
        "commitment": 0.0,
        "entropy_weight": 0.1,
        "diversity": 1.0,
        "temperature": 1.0,
        "group": 1,
    },
    DiVeQConfig: {
        "size": 1024,
        "noise": 0.001,
        "replace_every": 100,
        "replace_below": 0.01,
        "replacement_noise": 1e-09,
    },
    FSPConfig: {
        "levels": (8, 5, 5, 5),
        "size": 1000,
        "quantize_rate": 0.0,
        "mean_weight": 0.1,
        "variance_weight": 0.07,
    },
    FSQConfig: {"levels": (8, 5, 5, 5), "size": 1000},
    GumbelConfig: {
        "size": 1024,
        "kl_weight": 0.0005,
        "temperature": 0.9,
        "last_temperature": 1e-06,
        "mask_ratio": 1.0,
    },
    IBQConfig: {"size": 1024, "beta": 0.25, "entropy_weight": 0.05, "temperature": 0.01},
    LFQConfig: {"size": 1024, "commitment": 0.25, "entropy_weight": 0.1, "temperature": 0.01},
    NSVQConfig: {
        "size": 1024,
        "beta": 0.25,
        "alpha": 0.1,
        "tau": 0.35,
        "replacement": True,
        "epoch": 1000,
        "replacement_warmup": 5,
        "replacement_noise": 0.001,
        "mask_ratio": 0.0,
        "mask_fall": (1.0, 1.0),
    },
    RegVQConfig: {
        "size": 1024,
        "posterior": "distance",
        "mask_ratio": 0.4,
        "mask_fall": (1.0, 1.0),
        "prior_weight": 0.01,
        "prior_scope": "batch",
        "prior": "uniform",
        "prior_spread": 0.25,
        "prior_file": None,
        "commitment": 0.25,
        "temperature": 1.0,
    },
    SimVQConfig: {"size": 1024, "beta": 0.25, "estimator": "straight-through"},
    VQConfig: {
        "size": 1024,
        "beta": 0.25,
        "codebook": "gradient",
        "decay": 0.99,
        "start": "uniform",
        "restart_below": 0.0,
        "distance": "euclidean",
        "estimator": "straight-through",
    },
    AutoregressiveConfig: {
        "codebook_size": 1024,
        "grid": (16, 16),
        "width": 256,
        "layers": 6,
        "heads": 4,
        "dropout": 0.0,
        "conditions": (),
        "drop": 0.1,
        "layout": None,
        "levels": 1,
    },
    DiffusionConfig: {
        "codebook_size": 1024,
        "grid": (16, 16),
        "width": 256,
        "layers": 6,
        "heads": 4,
        "dropout": 0.0,
        "conditions": (),
        "drop": 0.1,
        "layout": None,
        "levels": 1,
        "timesteps": 100,
        "patch": 1,
        "alpha": (0.99999, 9e-06),
        "gamma": (9e-06, 0.99999),
        "stay": 0.0,
        "focus": 0.0,
        "auxiliary": 0.0005,
    },
    LatentConfig: {
        "latent_dim": 32,
        "grid": (16, 16),
        "width": 64,
        "factors": (1, 2, 4),
        "blocks": 2,
        "head_width": 32,
        "dropout": 0.0,
        "timesteps": 1000,
        "betas": (0.0001, 0.02),
        "prediction": "epsilon",
        "conditions": (),
        "drop": 0.1,
    },
    MaskedConfig: {
        "codebook_size": 1024,
        "grid": (16, 16),
        "width": 256,
        "layers": 6,
        "heads": 4,
        "dropout": 0.0,
        "conditions": (),
        "drop": 0.1,
        "layout": None,
        "levels": 1,
        "label_smoothing": 0.1,
        "patch": 1,
        "choice_temperature": 4.5,
    },
    SamplingOptions: {
        "n": 1,
        "generator": None,
        "guidance": 1.0,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "known": None,
        "steps": None,
        "grid": None,
    },
    LayoutConfig: {"width": 96, "layers": 3, "heads": 4, "dropout": 0.0},
    NetworkConfig: {
        "widths": (48, 96, 192),
        "encoder_blocks": 1,
        "decoder_blocks": 2,
        "stem": 2,
        "latent_dim": 32,
        "decoder_widths": None,
        "last_width": 0,
        "norm": "group",
        "attention": False,
    },
    DiscriminatorConfig: {"width": 48, "layers": 2},
    VQGANConfig: {
        "widths": (128, 128, 256, 256, 512),
        "blocks": 2,
        "decoder_blocks": 3,
        "attention_levels": (4,),
        "middle_blocks": 2,
        "middle_attention": True,
        "groups": 32,
        "z_channels": 256,
        "latent_dim": 256,
        "quant_conv": True,
        "bias": True,
        "out_kernel": 3,
        "downsample": "asymmetric",
        "upsample": "nearest",
        "decoder_norm": "group",
        "skip": "input",
    },
    LabelConfig: {"classes": 2},
    SemanticConfig: {"classes": 2, "shares": False, "width": 64},
    TextConfig: {
        "width": 192,
        "layers": 3,
        "heads": 4,
        "context": 48,
        "vocabulary": 0,
        "pretrained": None,
    },
    PicturesConfig: {
        "name": "scenes",
        "root": None,
        "size": 64,
        "crop": (0.0, 1.0),
        "aspect": 4 / 3,
        "stretch": False,
        "workers": 1,
        "image_column": None,
        "caption_column": None,
        "label_column": None,
        "subset": None,
    },
    AdamWConfig: {
        "lr": 0.0004,
        "betas": (0.9, 0.95),
        "weight_decay": 0.0001,
        "warmup": 0.03,
        "schedule": "cosine",
        "clip": 1.0,
        "ema": 0.999,
    },
    CommonConfig: {
        "recipe": "custom",
        "steps": 6000,
        "batch": 32,
        "seed": 0,
        "precision": "auto",
        "out": None,
        "log_every": 20,
        "save_every": 500,
        "validate_every": 2000,
        "tracker": ("tensorboard",),
        "stop_after": None,
        "accumulate": 1,
        "checkpointing": False,
        "compile": False,
    },
    SamplingConfig: {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "steps": None},
    StagesConfig: {
        "epoch": 1000,
        "patience": 10,
        "earliest": 0.0,
        "latest": 1.0,
        "warmup": 3,
        "ramp": 2.0,
    },
    DataConfig: {
        "name": "scenes",
        "root": None,
        "size": 64,
        "crop": (0.0, 1.0),
        "aspect": 4 / 3,
        "stretch": False,
        "workers": 1,
        "last_size": None,
        "last_share": 0.2,
        "image_column": None,
        "caption_column": None,
        "label_column": None,
        "subset": None,
    },
    FeatureConfig: {"name": "auto", "weights": None},
    LossConfig: {
        "l1": 1.0,
        "l2": 0.0,
        "perceptual": 1.0,
        "lpips": False,
        "second_perceptual": 0.0,
        "second_share": 1.0,
        "perceptual_every": 1,
        "contrastive": "none",
        "contrastive_weight": 0.1,
        "adversarial": 0.0,
        "adaptive": True,
        "discriminator_start": 0.5,
        "listen_after": 0.05,
        "ramp": 0.1,
    },
    OptimizerConfig: {
        "lr": 0.0004,
        "betas": (0.9, 0.95),
        "weight_decay": 0.0001,
        "warmup": 0.03,
        "schedule": "cosine",
        "clip": 1.0,
        "ema": 0.999,
        "discriminator_lr": 0.0002,
        "discriminator_betas": (0.5, 0.9),
    },
}


@pytest.mark.parametrize("kind", DEFAULTS, ids=lambda kind: kind.__name__)
def test_a_config_that_states_nothing_has_these_values(kind: type) -> None:
    config = kind()
    found = {field.name: getattr(config, field.name) for field in fields(kind)}
    assert found == DEFAULTS[kind]
    for name, value in DEFAULTS[kind].items():  # 1 is not True, and 1.0 not 1
        assert isinstance(found[name], type(value)), name
        assert isinstance(found[name], bool) == isinstance(value, bool), name

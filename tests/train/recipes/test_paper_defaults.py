"""Every default that a paper or its code states, with its source; where ours differs, the reason.

A row whose ``differs`` is empty must have the published value. The other rows state both, so that
neither changes unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from inspect import signature
from typing import Any

import pytest

from core.losses.contrastive import contrastive_loss, probabilistic_contrastive_loss
from core.networks.discriminator import DiscriminatorConfig
from core.priors import AutoregressiveConfig, DiffusionConfig, LatentConfig, MaskedConfig
from core.quantizers import (
    QUANTIZERS,
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)
from train.config.base import AdamWConfig
from train.config.stages import StagesConfig
from train.config.tokenizer import LossConfig, OptimizerConfig
from train.recipes import config_of


@dataclass(frozen=True)
class Row:
    """A default, the published value, and the source."""

    config: Any
    setting: str
    published: Any
    source: str
    ours: Any = None
    differs: str = ""
    """The reason for another default; empty if it is the published value."""


REGVQ = "Reg-VQ, arXiv 2303.06424"
TAMING = "VQ-GAN's code (taming-transformers)"
NSVQ = "NSVQ, arXiv 2606.11363"
SIMVQ = "SimVQ, arXiv 2411.02038"
BSQ = "BSQ's code, arXiv 2406.07548, config imagenet_256x256_bsqvit_b18g18"
DIVEQ = "the authors' package diveq 0.1.3, arXiv 2509.26469"
FSP = "vector-quantize-pytorch 1.32, FSP (VP-VAE, arXiv 2602.17133)"
SMALL = "sized for a CPU; the recipes at the papers' scale set it"

ROWS = [
    Row(RegVQConfig(), "mask_ratio", 0.4, f"{REGVQ}, Fig. 3"),
    Row(RegVQConfig(), "prior", "uniform", f"{REGVQ}, Eq. 1"),
    Row(
        RegVQConfig(), "posterior", "head", f"{REGVQ}, section 3", "distance",
        "learns much faster on a CPU; the recipes at the paper's scale have the head",
    ),
    Row(
        RegVQConfig(), "prior_scope", "image", f"{REGVQ}, Eq. 1 as written", "batch",
        "over one image the divergence cannot reach 0 with fewer positions than codes",
    ),
    Row(VQConfig(), "beta", 0.25, "VQ-VAE, arXiv 1711.00937, section 4"),
    Row(VQConfig(), "start", "uniform", TAMING),
    Row(VQConfig(), "codebook", "gradient", "VQ-VAE, Eq. 3"),
    Row(VQConfig(), "decay", 0.99, "VQ-VAE, appendix A.1"),
    Row(VQConfig(), "restart_below", 0.0, "VQ-VAE and VQ-GAN have no restart"),
    Row(VQConfig(), "distance", "euclidean", "VQ-VAE, Eq. 1"),
    Row(VQConfig(), "estimator", "straight-through", "VQ-VAE, section 3.1"),
    Row(GumbelConfig(), "kl_weight", 5e-4, f"{TAMING}, GumbelQuantize"),
    Row(GumbelConfig(), "temperature", 0.9, f"{TAMING}, f8 model of 8,192 codes"),
    Row(GumbelConfig(), "last_temperature", 1e-6, f"{TAMING}, f8 model of 8,192 codes"),
    Row(GumbelConfig(), "mask_ratio", 1.0, "every code is drawn: arXiv 1611.01144"),
    Row(SimVQConfig(), "beta", 0.25, f"{SIMVQ}, the authors' code"),
    Row(SimVQConfig(), "estimator", "straight-through", f"{SIMVQ}, the authors' code"),
    Row(NSVQConfig(), "alpha", 0.1, f"{NSVQ}, appendix D.2"),
    Row(NSVQConfig(), "tau", 0.35, f"{NSVQ}, appendix D.2"),
    Row(NSVQConfig(), "beta", 0.25, f"{NSVQ}, appendix D.2"),
    Row(NSVQConfig(), "replacement", True, f"{NSVQ}, appendix C.3"),
    Row(NSVQConfig(), "replacement_warmup", 5, f"{NSVQ}, appendix D.3"),
    Row(NSVQConfig(), "replacement_noise", 0.001, f"{NSVQ}, appendix D.3"),
    Row(NSVQConfig(), "mask_ratio", 0.0, f"{NSVQ} draws no codes"),
    Row(StagesConfig(), "patience", 10, f"{NSVQ}, section 4.1"),
    Row(StagesConfig(), "warmup", 3, f"{NSVQ}, appendix D.3"),
    Row(StagesConfig(), "ramp", 2.0, f"{NSVQ}, appendix D.3"),
    Row(StagesConfig(), "earliest", 0.0, f"{NSVQ} has no such limit"),
    Row(StagesConfig(), "latest", 1.0, f"{NSVQ} has no such limit"),
    Row(IBQConfig(), "beta", 0.25, "IBQ's configs, arXiv 2412.02692"),
    Row(IBQConfig(), "entropy_weight", 0.05, "IBQ's configs, 16,384 codes"),
    Row(IBQConfig(), "temperature", 0.01, "IBQ's configs, 16,384 codes"),
    Row(LFQConfig(), "commitment", 0.25, "Open-MAGVIT2's code, arXiv 2409.04410"),
    Row(LFQConfig(), "entropy_weight", 0.1, "Open-MAGVIT2's code, arXiv 2409.04410"),
    Row(LFQConfig(), "temperature", 0.01, "Open-MAGVIT2's code, arXiv 2409.04410"),
    Row(FSQConfig(), "levels", (8, 5, 5, 5), "FSQ, arXiv 2309.15505, for about 2^10 codes"),
    Row(BSQConfig(), "commitment", 0.0, f"{BSQ}: beta"),
    Row(BSQConfig(), "entropy_weight", 0.1, f"{BSQ}: codebook_weight"),
    Row(BSQConfig(), "diversity", 1.0, f"{BSQ}: gamma"),
    Row(BSQConfig(), "temperature", 1.0, f"{BSQ}: inv_temperature"),
    Row(BSQConfig(), "group", 1, f"{BSQ}: embed_group_size"),
    Row(DiVeQConfig(), "noise", 1e-3, f"{DIVEQ}: noise_var"),
    Row(DiVeQConfig(), "replace_every", 100, f"{DIVEQ}: replacement_iters"),
    Row(DiVeQConfig(), "replace_below", 0.01, f"{DIVEQ}: discard_threshold"),
    Row(DiVeQConfig(), "replacement_noise", 1e-9, f"{DIVEQ}: perturb_eps"),
    Row(FSPConfig(), "levels", (8, 5, 5, 5), "FSQ, arXiv 2309.15505, for about 2^10 codes"),
    Row(FSPConfig(), "quantize_rate", 0.0, FSP),
    Row(FSPConfig(), "mean_weight", 0.1, f"{FSP}: vector_norm var_tanh"),
    Row(FSPConfig(), "variance_weight", 0.07, f"{FSP}: vector_norm var_tanh"),
    Row(LossConfig(), "l1", 1.0, f"{TAMING}; Reg-VQ, section 3.3"),
    Row(LossConfig(), "l2", 0.0, TAMING),
    Row(LossConfig(), "perceptual", 1.0, f"{TAMING}, configs/imagenet_vqgan.yaml"),
    Row(LossConfig(), "adaptive", True, "VQ-GAN, arXiv 2012.09841, Eq. 7"),
    Row(LossConfig(), "adversarial", 0.8, TAMING, 0.0, "no discriminator unless a recipe asks"),
    Row(
        DiscriminatorConfig(), "width", 64, f"{TAMING}, NLayerDiscriminator", 48, SMALL,
    ),
    Row(
        DiscriminatorConfig(), "layers", 3, f"{TAMING}, NLayerDiscriminator", 2, SMALL,
    ),
    Row(OptimizerConfig(), "discriminator_betas", (0.5, 0.9), TAMING),
    Row(
        AdamWConfig(), "betas", (0.5, 0.9), TAMING, (0.9, 0.95),
        "short runs on a CPU; the recipes at the papers' scale set the papers'",
    ),
    Row(AdamWConfig(), "ema", 0.999, f"{SIMVQ}, configs/imagenet_simvq_128_B.yaml"),
    Row(DiffusionConfig(), "timesteps", 100, "VQ-Diffusion, arXiv 2111.14822, section 5.1"),
    Row(DiffusionConfig(), "alpha", (0.99999, 0.000009), "VQ-Diffusion's code"),
    Row(DiffusionConfig(), "gamma", (0.000009, 0.99999), "VQ-Diffusion's code"),
    Row(DiffusionConfig(), "auxiliary", 5e-4, "VQ-Diffusion's configs (1e-3 on ImageNet)"),
    Row(DiffusionConfig(), "stay", 0.0, "VQ-Diffusion has no such constant"),
    Row(DiffusionConfig(), "focus", 0.0, "VQ-Diffusion: the bound itself"),
    Row(DiffusionConfig(), "patch", 1, "VQ-Diffusion: a position per token"),
    Row(MaskedConfig(), "label_smoothing", 0.1, "MaskGIT, arXiv 2202.04200, section 4.1"),
    Row(MaskedConfig(), "choice_temperature", 4.5, "MaskGIT's code"),
    Row(MaskedConfig(), "default_steps", 12, "MaskGIT: 8 to 12"),
    Row(MaskedConfig(), "patch", 1, "MaskGIT: a position per token"),
    Row(LatentConfig(), "timesteps", 1000, f"{NSVQ}, appendix D"),
    Row(LatentConfig(), "betas", (1e-4, 2e-2), f"{NSVQ}, appendix D"),
    Row(LatentConfig(), "prediction", "epsilon", f"{NSVQ}, appendix D"),
    Row(LatentConfig(), "factors", (1, 2, 4), f"{NSVQ}, appendix D"),
    Row(LatentConfig(), "blocks", 2, f"{NSVQ}, appendix D"),
    Row(LatentConfig(), "default_steps", 50, f"{NSVQ}, appendix D: DDIM 50"),
    Row(LatentConfig(), "dropout", 0.0, f"{NSVQ}, appendix D"),
    Row(LatentConfig(), "width", 256, f"{NSVQ}, appendix D", 64, SMALL),
    Row(AutoregressiveConfig(), "layers", 24, f"{TAMING}, minGPT", 6, SMALL),
    Row(AutoregressiveConfig(), "width", 1024, f"{TAMING}, minGPT", 256, SMALL),
    Row(AutoregressiveConfig(), "heads", 16, f"{TAMING}, minGPT", 4, SMALL),
    Row(AutoregressiveConfig(), "drop", 0.1, "classifier-free guidance, arXiv 2207.12598: 0.1"),
    # The recipes at the papers' scale.
    Row("ade20k-regvq", "tokenizer.quantizer.posterior", "head", f"{REGVQ}, section 3"),
    Row("ade20k-regvq", "tokenizer.quantizer.mask_ratio", 0.4, f"{REGVQ}, Fig. 3"),
    Row("ade20k-regvq", "loss.contrastive", "pcl", f"{REGVQ}, Table 2, last row"),
    Row("ade20k-regvq", "features.name", "vgg19", f"{REGVQ}, section 3.4"),
    Row("ade20k-regvq", "data.size", 256, f"{REGVQ}, section 4"),
    Row("ade20k-vq", "loss.adversarial", 0.8, TAMING),
    Row("ade20k-vq", "optimizer.betas", (0.5, 0.9), TAMING),
    Row("ade20k-vq", "discriminator.width", 64, TAMING),
    Row("ade20k-vq", "discriminator.layers", 3, TAMING),
    Row("imagenet256-vq", "tokenizer.network.widths", (128, 128, 256, 256, 512), TAMING),
    Row("imagenet256-vq", "tokenizer.quantizer.size", 1024, TAMING),
    Row("imagenet256-vq", "tokenizer.network.latent_dim", 256, TAMING),
    Row("imagenet256-vq", "batch", 12, f"{TAMING}: per GPU"),
    Row("imagenet128-simvq-65k", "loss.adversarial", 0.1, f"{SIMVQ}, the authors' config"),
    Row("imagenet128-simvq-65k", "loss.adaptive", False, f"{SIMVQ}, the authors' config"),
    Row("imagenet128-simvq-65k", "loss.discriminator_start", 0.0, f"{SIMVQ}, disc_start 0"),
    Row("imagenet128-simvq-65k", "optimizer.lr", 1e-4, f"{SIMVQ}, the authors' config"),
    Row("imagenet128-simvq-65k", "optimizer.betas", (0.5, 0.9), f"{SIMVQ}, the authors' config"),
    Row("imagenet128-simvq-65k", "optimizer.ema", 0.999, f"{SIMVQ}, the authors' config"),
    Row("imagenet128-simvq-65k", "tokenizer.network.widths", (128, 256, 256, 512), f"{SIMVQ}"),
    Row("imagenet128-nsvq-65k", "tokenizer.quantizer.size", 65_536, f"{NSVQ}, appendix D"),
    Row("imagenet128-nsvq-65k", "tokenizer.network.latent_dim", 128, f"{NSVQ}, appendix D"),
    Row("imagenet128-nsvq-65k", "optimizer.lr", 1e-4, f"{NSVQ}, appendix D"),
    Row("imagenet128-nsvq-65k", "optimizer.schedule", "constant", f"{NSVQ}: no scheduler"),
    Row("imagenet128-nsvq-65k", "batch", 32, f"{NSVQ}: 4 x 32"),
    Row("imagenet128-nsvq-65k", "steps", 700_700, f"{NSVQ}, appendix D"),
    Row("imagenet128-latent", "prior.width", 256, f"{NSVQ}, appendix D"),
    Row("imagenet128-latent", "prior.factors", (1, 2, 4), f"{NSVQ}, appendix D"),
    Row("imagenet128-latent", "optimizer.lr", 1e-4, f"{NSVQ}, appendix D"),
    Row("imagenet128-latent", "optimizer.weight_decay", 0.0, f"{NSVQ}, appendix D"),
]  # fmt: skip


def value(row: Row) -> Any:
    found = config_of(row.config) if isinstance(row.config, str) else row.config
    for name in row.setting.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize(
    "row",
    ROWS,
    ids=lambda row: (
        f"{row.config if isinstance(row.config, str) else type(row.config).__name__}.{row.setting}"
    ),
)
def test_a_default_is_the_published_one_or_differs_for_a_reason(row: Row) -> None:
    if row.differs:
        assert row.ours != row.published, "the row gives a reason, but nothing differs"
    wanted = row.ours if row.differs else row.published
    assert value(row) == wanted, row.source
    assert type(value(row)) is type(wanted)


def test_temperatures_of_the_contrastive_losses() -> None:
    """INFERRED: 0.07 is MoNCE's, by the second author of Reg-VQ, whose paper states none."""
    for loss in (contrastive_loss, probabilistic_contrastive_loss):
        assert signature(loss).parameters["tau"].default == 0.07


def test_every_number_of_a_quantizer_has_a_row_or_is_inferred() -> None:
    """A new setting of a quantizer is either in the table or said to be ours in its docstring."""
    inferred = {
        "RegVQConfig": {
            "prior_weight",
            "prior_spread",
            "mask_fall",
            "prior_file",
            "commitment",
            "temperature",
        },
        "NSVQConfig": {"epoch", "mask_fall"},
    }
    for config in QUANTIZERS.values():
        assert is_dataclass(config)
        named = {row.setting for row in ROWS if type(row.config) is config}
        named |= inferred.get(config.__name__, set()) | {"size"}
        assert {field.name for field in fields(config)} <= named, config.__name__

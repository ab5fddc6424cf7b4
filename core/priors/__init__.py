"""Priors: distributions of token ids, or of latents, under conditions."""

from functools import partial

from .autoregressive import AutoregressiveConfig, AutoregressivePrior
from .base import (
    PRIORS,
    Prior,
    PriorConfig,
    PriorKind,
    build_prior,
    describe_prior,
    kind_of,
    prior_config,
)
from .diffusion import DiffusionConfig, DiffusionPrior
from .latent import LatentConfig, LatentPrior
from .masked import MaskedConfig, MaskedPrior
from .options import ResolvedOptions, SamplingOptions, Step
from .planned import LayoutPrior, PlannedPrior, build_token_prior
from .token_prior import LayoutConfig, TokenPrior, TokenPriorConfig

AnyPriorConfig = AutoregressiveConfig | DiffusionConfig | MaskedConfig | LatentConfig
"""The configs of all kinds of prior."""

PRIORS |= {
    "autoregressive": PriorKind(
        AutoregressiveConfig, partial(build_token_prior, AutoregressivePrior)
    ),
    "diffusion": PriorKind(DiffusionConfig, partial(build_token_prior, DiffusionPrior)),
    "masked": PriorKind(MaskedConfig, partial(build_token_prior, MaskedPrior)),
    "latent": PriorKind(LatentConfig, LatentPrior),
}

__all__ = [
    "PRIORS",
    "AnyPriorConfig",
    "AutoregressiveConfig",
    "AutoregressivePrior",
    "DiffusionConfig",
    "DiffusionPrior",
    "LatentConfig",
    "LatentPrior",
    "LayoutConfig",
    "LayoutPrior",
    "MaskedConfig",
    "MaskedPrior",
    "PlannedPrior",
    "Prior",
    "PriorConfig",
    "PriorKind",
    "ResolvedOptions",
    "SamplingOptions",
    "Step",
    "TokenPrior",
    "TokenPriorConfig",
    "build_prior",
    "describe_prior",
    "kind_of",
    "prior_config",
]

"""Priors: which token ids occur together, under conditions; and drawing such ids.

prior = AutoregressiveConfig(codebook_size=1024, conditions=(LabelConfig(classes=8),)).build()
for step in prior.sample(Condition(labels=torch.tensor([3])), n=4, guidance=2.0):
    ...                                     # step.ids grows from -1 to ids (4, h, w)
"""

from .autoregressive import AutoregressiveConfig, AutoregressivePrior
from .base import Prior, Step, TokenPrior, TokenPriorConfig
from .diffusion import DiffusionConfig, DiffusionPrior
from .latent import LatentConfig, LatentPrior
from .masked import MaskedConfig, MaskedPrior
from .planned import LayoutConfig

PriorConfig = AutoregressiveConfig | DiffusionConfig | MaskedConfig | LatentConfig

# The names that config.json uses. A name, once shipped, stays.
PRIORS: dict[str, type[PriorConfig]] = {
    "autoregressive": AutoregressiveConfig,
    "diffusion": DiffusionConfig,
    "masked": MaskedConfig,
    "latent": LatentConfig,
}

__all__ = [
    "PRIORS",
    "AutoregressiveConfig",
    "AutoregressivePrior",
    "DiffusionConfig",
    "DiffusionPrior",
    "LatentConfig",
    "LatentPrior",
    "LayoutConfig",
    "MaskedConfig",
    "MaskedPrior",
    "Prior",
    "PriorConfig",
    "Step",
    "TokenPrior",
    "TokenPriorConfig",
]

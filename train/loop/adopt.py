"""A run that takes its network, its quantizer and its losses from the tokenizer it starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from regvq.bundles.bundle import Bundle, bundle_of_kind, find_bundle
from regvq.config import changed_settings
from regvq.paths import ROOT
from regvq.tokenizer import TokenizerConfig

from ..cli.errors import UsageError
from ..config.tokenizer import LossConfig, RunConfig

# A discriminator that learns from the first step on and is heard a little later: the tokenizer is
# trained already.
_SOON: dict[str, Any] = {"discriminator_start": 0.0, "listen_after": 0.1, "ramp": 0.1}
_VQGAN = LossConfig(adversarial=0.8, **_SOON)
_IMPROVED = LossConfig(adversarial=0.1, adaptive=False, **_SOON)
LOSSES = {
    "taming": _VQGAN,
    "taming-gumbel": _VQGAN,
    "vqmodel": _VQGAN,
    "movq": _VQGAN,
    "amused": _VQGAN,
    "llamagen": LossConfig(l1=0.0, l2=1.0, adversarial=0.5, adaptive=False, **_SOON),
    "simvq": _IMPROVED,
    "open-magvit2": _IMPROVED,
    "ibq": _IMPROVED,
    "maskgit": LossConfig(l1=0.0, l2=1.0, perceptual=0.1, adversarial=0.1, adaptive=False, **_SOON),
}
"""The losses of each family of ``core.importing``, from its authors' configs and code: VQ-GAN's
weights for taming's (for aMUSEd, MoVQ and other VQModels INFERRED), LlamaGen's squared error and
weight of 0.5 without adaptive weight, the weight of 0.1 without it of SimVQ, Open-MAGVIT2 and IBQ,
and MaskGIT's perceptual and adversarial weights of 0.1 (its squared error is INFERRED). Their other
terms (LeCam, gradient penalty) are left out; the discriminator's start is our choice."""


def adopted(config: RunConfig) -> RunConfig:
    """Return the run with the tokenizer's settings of ``config.init``, and with the losses of its
    family if the run has none of its own.

    Raises UsageError without ``init`` or for crops that do not fit, CheckpointError for a folder
    without a tokenizer.
    """
    if config.init is None:
        raise UsageError(f"{config.recipe} needs a tokenizer to start from: give --init DIR")
    bundle = bundle_to_adopt(config.init)
    described = bundle.config.get("tokenizer")
    tokenizer = TokenizerConfig.from_dict(described, bundle.path / "config.json")
    loss = config.loss
    if not changed_settings(loss):
        loss = LOSSES.get(_family(bundle), _VQGAN)
    try:
        return replace(config, tokenizer=tokenizer, loss=loss, adopt_init=False)
    except ValueError as error:
        raise UsageError(f"{bundle.path} does not fit this run: {error}") from None


def bundle_to_adopt(source: Path) -> Bundle:
    """Return the tokenizer's bundle at ``source``, which may be relative to the project."""
    return bundle_of_kind(find_bundle(source if source.exists() else ROOT / source), "tokenizer")


def _family(bundle: Bundle) -> str:
    """Return the family of an imported tokenizer; "" for others."""
    recipe = bundle.config.get("recipe") or {}
    origin = recipe.get("imported") or recipe.get("init_origin") or {}
    return str(origin.get("family", ""))

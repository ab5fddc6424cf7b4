"""What a prior's run hands out: sample pictures, and bundles with figures and model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from regvq.bundles.bundle import Bundle
from regvq.cards.prior import prior_card
from regvq.conditions.from_samples import condition_of
from regvq.data import Dataset
from regvq.data.token_shards import TokenBatch, TokenShards
from regvq.images import to_pictures
from regvq.priors import LatentConfig, Prior
from regvq.tokenizer import Tokenizer

from ..cli.common import called
from ..config.prior import PriorRunConfig
from ..loop.token_batches import first_of
from ..recipes.priors import PRIOR_RECIPES, prior_config_of
from .recipe_flags import flags_beyond

SHOWN = 8  # pictures on a sample sheet


def sample_sheet(
    prior: Prior, tokenizer: Tokenizer, batch: TokenBatch, config: PriorRunConfig, file: Path
) -> None:
    """Held-out pictures as the tokenizer has them, above what the prior paints when told what
    they show."""
    batch = first_of(batch, SHOWN)
    condition = condition_of(
        config.prior.conditions, batch.captions, batch.segmentation, batch.labels
    )
    noise = torch.Generator(tokenizer.device).manual_seed(config.seed)
    drawn = prior.generate(condition, len(batch), generator=noise, **asdict(config.sampling))
    rows = [tokenizer.decode(batch.ids), tokenizer.decode(drawn)]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    to_pictures(sheet[None])[0].save(file)


def export_prior(
    path: Path,
    *,
    prior: Prior,
    tokenizer: Tokenizer,
    tokenizer_bundle: Bundle,
    config: PriorRunConfig,
    data: Dataset,
    shards: TokenShards | None,
    metrics: Mapping[str, Any],
    broken: int = 0,
    begun_on: str | None = None,
) -> None:
    """Write the bundle, with the figures there are so far. ``begun_on``: the other tokenizer that
    the weights of ``init`` were for."""
    about = describe(config, shards, broken) | {"init_tokenizer": begun_on}
    name = called(tokenizer_bundle.path)
    prior.save_pretrained(
        path,
        tokenizer={"name": name, "fingerprint": tokenizer.fingerprint},
        data=shown_data(config.data.name, data),
        sampling=asdict(config.sampling),
        card=prior_card(config.recipe, prior.config, name, about, metrics),
        metrics=metrics,
        recipe=about,
    )


def shown_data(name: str, data: Dataset) -> dict[str, Any]:
    """A data set's name, and the classes and colours of which its maps are painted."""
    palette = getattr(data, "palette", None)
    return {
        "name": name,
        "classes": list(getattr(data, "classes", ())),
        "palette": [] if palette is None else palette.tolist(),
    }


def _flags(config: PriorRunConfig) -> str:
    if config.recipe not in PRIOR_RECIPES:
        return ""
    return flags_beyond(config, prior_config_of(config.recipe))


def describe(config: PriorRunConfig, shards: TokenShards | None, broken: int) -> dict[str, Any]:
    """The run as JSON, without any path: a bundle is published, and folders are its maker's
    affair."""
    data = asdict(config.data) | {"broken_files": broken}
    del data["root"], data["workers"]
    tokens = None
    if shards is not None:
        tokens = {
            "pictures": shards.header["data"]["items"],
            "augmentations": shards.header["augmentations"],
            "views": len(shards),
        }
    return {
        "name": config.recipe,
        "steps": config.steps,
        "batch": config.batch,
        "seed": config.seed,
        "init": None if config.init is None else called(config.init),
        "train_only": config.train_only,
        "embeddings": None if isinstance(config.prior, LatentConfig) else config.embeddings,
        "flags": _flags(config),
        "data": data,
        "tokens": tokens,
        "optimizer": asdict(config.optimizer),
        "sampling": asdict(config.sampling),
    }

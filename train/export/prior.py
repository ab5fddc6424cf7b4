"""The output of a prior's run: sample pictures, and bundles with figures and model card."""

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

from ..cli.common import bundle_name
from ..cli.files import save_picture
from ..config.prior import PriorRunConfig
from ..loop.provenance import origin
from ..loop.token_batches import first_of
from .recipe_flags import recipe_flags

SHOWN = 8  # pictures on a sample sheet


def sample_sheet(
    prior: Prior, tokenizer: Tokenizer, batch: TokenBatch, config: PriorRunConfig, file: Path
) -> None:
    """Save held-out pictures, reconstructed by the tokenizer, above the pictures that the prior
    draws under their conditions."""
    batch = first_of(batch, SHOWN)
    condition = condition_of(
        config.prior.conditions, batch.captions, batch.segmentation, batch.labels
    )
    noise = torch.Generator(tokenizer.device).manual_seed(config.seed)
    drawn = prior.generate(condition, len(batch), generator=noise, **asdict(config.sampling))
    rows = [tokenizer.decode(batch.ids), tokenizer.decode(drawn)]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_picture(to_pictures(tokenizer.visible(sheet)[None])[0], file)


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
    init_tokenizer: str | None = None,
    processes: int = 1,
    validations: Mapping[int, Mapping[str, float]] | None = None,
) -> None:
    """Write the bundle with its present figures.

    ``init_tokenizer``: the tokenizer of the weights of ``init``, if it is another one.
    ``processes``: those with which the run was started. ``validations``: the figures of held-out
    pictures so far, by step.
    """
    recipe = describe(config, shards, broken) | {"init_tokenizer": init_tokenizer}
    recipe |= {"processes": processes, "origin": origin()}
    if tokenizer.channels != 3:
        recipe["channels"] = tokenizer.channels
    if validations:
        rows = [{"step": at, **row} for at, row in sorted(validations.items())]
        metrics = {**metrics, "validation": rows}
    name = bundle_name(tokenizer_bundle.path)
    prior.save_pretrained(
        path,
        tokenizer={"name": name, "fingerprint": tokenizer.fingerprint},
        data=shown_data(config.data.name, data),
        sampling=asdict(config.sampling),
        card=prior_card(config.recipe, prior.config, name, recipe, metrics),
        metrics=metrics,
        recipe=recipe,
    )


def shown_data(name: str, data: Dataset) -> dict[str, Any]:
    """Return a data set's name, the classes and colors of its maps, and the names of its labels."""
    palette = getattr(data, "palette", None)
    return {
        "name": name,
        "classes": list(getattr(data, "classes", ())),
        "palette": [] if palette is None else palette.tolist(),
        "labels": list(getattr(data, "labels", ())),
    }


def describe(config: PriorRunConfig, shards: TokenShards | None, broken: int) -> dict[str, Any]:
    """Return the run as JSON, without any path: bundles are published, and paths are private."""
    data = asdict(config.data) | {"broken_files": broken}
    data["held_out"] = config.data.held_out
    del data["root"], data["workers"]
    tokens = None
    if shards is not None:
        # What it was trained on is stated by the shards themselves.
        data["name"] = shards.header["data"]["name"]
        data["held_out"] &= shards.header["data"]["split"] == "train"
        tokens = {
            "split": shards.header["data"]["split"],
            "pictures": shards.header["data"]["items"],
            "augmentations": shards.header["augmentations"],
            "views": len(shards),
        }
    return {
        "name": config.recipe,
        "steps": config.steps,
        "batch": config.batch,
        "seed": config.seed,
        "init": None if config.init is None else bundle_name(config.init),
        "train_only": config.train_only,
        "embeddings": None if isinstance(config.prior, LatentConfig) else config.embeddings,
        "flags": recipe_flags(config),
        "data": data,
        "tokens": tokens,
        "optimizer": asdict(config.optimizer),
        "sampling": asdict(config.sampling),
    }

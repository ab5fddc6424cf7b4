"""The output of a tokenizer's run: sample pictures, and bundles with figures, atlas and card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from regvq.analysis.atlas import build_atlas
from regvq.analysis.real_patches import gather_patches
from regvq.arrays import fitted_image
from regvq.bundles.bundle import find_bundle
from regvq.cards.tokenizer import model_card
from regvq.data import Dataset
from regvq.errors import CheckpointError, DataError, PictureError
from regvq.images import to_pictures
from regvq.metrics.reconstruction import evaluate_tokenizer, no_counts
from regvq.networks.features import Features
from regvq.paths import ROOT
from regvq.tokenizer import Tokenizer

from ..cli.common import bundle_name, evenly_spaced
from ..cli.files import save_picture
from ..config.tokenizer import RunConfig
from ..loop.provenance import origin
from .drift_history import remember
from .figures import describe_patches
from .recipe_flags import recipe_flags

QUICK_ATLAS = 4096
"""Codes up to which every save has an atlas, whose cost grows faster than the codebook."""
PATCHED = 100
"""Pictures in which real patches of the codes are searched."""
LONGEST = 1024
"""Largest side of a picture, in pixels: one of 24 megapixels takes minutes and gigabytes."""
FEW = 32
"""Pictures on which a run is evaluated; train/evaluate.py takes a whole data set."""


def sample_sheet(tokenizer: Tokenizer, pictures: Dataset, folder: Path, step: int) -> None:
    """Save four held-out pictures above their reconstructions, as ``folder/STEP.png``.

    Of other than three channels, those are shown that perceptual losses see.
    """
    tiles = []
    for image in sample_pictures(pictures, 4):
        square = _center(image, 192)[None].to(tokenizer.device)
        tiles.append(torch.cat([square, tokenizer.reconstruct(square)], dim=2))
    if not tiles:
        return
    sheet = torch.cat(tiles, dim=3)
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(to_pictures(tokenizer.visible(sheet))[0], folder / f"{step:07d}.png")


def export_bundle(
    path: Path,
    *,
    tokenizer: Tokenizer,
    config: RunConfig,
    step: int,
    features: Features | None,
    second: Features | None = None,
    pictures: Dataset,
    broken: int = 0,
    final: bool = True,
    history: Path | None = None,
    due: bool = True,
    processes: int = 1,
    validations: Mapping[int, Mapping[str, float]] | None = None,
) -> None:
    """Evaluate on a few held-out pictures, compute the atlas, and write the bundle.

    The atlas of a large codebook takes minutes, so a save that is not ``final`` has none; the
    explorer computes it when such a bundle is opened. An atlas, the drift and the patches are those
    of one codebook: a tokenizer with several levels has none of them in its bundle.

    ``history``: the run's file of the drift of its codes, to which this save is added
    (``train.export.drift_history``); ``due``: False for a save that only a stop has brought about,
    which only the bundle's history has. ``processes``: those with which the run was started.
    ``validations``: the figures of the whole held-out set so far, by step.
    """
    counts = no_counts(tokenizer)
    metrics: dict[str, Any] = evaluate_tokenizer(
        tokenizer,
        sample_pictures(pictures, FEW),
        features=features,
        device=tokenizer.device,
        code_counts=counts,
    )
    metrics["step"] = step
    held_out = config.data.held_out
    metrics["data"] = {"name": config.data.name, "held_out": held_out, "longest": LONGEST}
    if validations:
        metrics["validation"] = [{"step": at, **row} for at, row in sorted(validations.items())]
    recipe = describe(config, features, broken, processes, second) | {"origin": origin()}
    init_origin = _origin(config.init)
    if init_origin is not None:
        recipe["init_origin"] = init_origin
    source = f"{metrics['images']} pictures of the data set {config.data.name!r}"
    atlas, one = None, tokenizer.levels == 1
    if one and (final or tokenizer.codebook_size <= QUICK_ATLAS):
        atlas = build_atlas(tokenizer, source=source, counts=counts.numpy())
    if one and history is not None:
        codes = tokenizer.quantizer.codebook().detach().float().cpu().numpy()
        drifted = remember(history, step, codes, counts.numpy(), due)
        if atlas is not None:
            atlas |= drifted
    if one and final and config.data.name == "scenes":
        # Patches are published with the bundle: those of other pictures only by train/patches.py.
        words = "scenes drawn by this project"
        found = gather_patches(tokenizer, sample_pictures(pictures, PATCHED), source=words)
        atlas |= found
        metrics["patches"] = describe_patches(found)
    tokenizer.save_pretrained(
        path,
        card=model_card(config.recipe, tokenizer.config, recipe, metrics),
        metrics=metrics,
        atlas=atlas,
        recipe=recipe,
        # An imported encoder that stays as it is must stay so to the last bit: ids depend on it.
        half=not (origin is not None and config.train_only == "decoder"),
    )


def _origin(init: Path | None) -> dict[str, Any] | None:
    """Return the origin of the tokenizer that a run starts from, if it was imported."""
    if init is None:
        return None
    try:
        bundle = find_bundle(init if init.exists() else ROOT / init)  # as in warm_start
        recipe = bundle.config.get("recipe") or {}
    except CheckpointError:
        return None
    return recipe.get("imported") or recipe.get("init_origin")


def describe(
    config: RunConfig,
    features: Features | None,
    broken: int,
    processes: int = 1,
    second: Features | None = None,
) -> dict[str, Any]:
    """Return the run as JSON, without any path: bundles are published, and paths are private."""
    data = asdict(config.data) | {"broken_files": broken}
    del data["root"], data["workers"]
    return {
        "name": config.recipe,
        "steps": config.steps,
        "batch": config.batch,
        "processes": processes,
        "seed": config.seed,
        "init": None if config.init is None else bundle_name(config.init),
        "codes_from": config.codes_from,
        "train_only": config.train_only,
        "codes_rate": config.codes_rate,
        "flags": recipe_flags(config),
        "data": data,
        "features": labels(features, second),
        "loss": asdict(config.loss),
        "optimizer": asdict(config.optimizer),
        "stages": asdict(config.stages) if config.stages is not None else None,
        "discriminator": asdict(config.discriminator) if config.loss.adversarial else None,
    }


def labels(*features: Features | None) -> str:
    """Return the labels of a run's features, joined."""
    return " and ".join(each.label for each in features if each is not None) or "none"


def sample_pictures(pictures: Dataset, count: int) -> Iterator[Tensor]:
    """Yield up to ``count`` pictures (C, H, W), spread evenly over the data set.

    Broken pictures are left out, even if they are too many of a few. Large pictures are reduced to
    a side of at most ``LONGEST`` pixels.
    """
    for index in evenly_spaced(len(pictures), count):
        try:
            image = pictures[index].image
        except (PictureError, DataError):
            continue
        yield _at_most(image, LONGEST)


def _at_most(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[-2:]
    longer = max(height, width)
    if longer <= side:
        return image
    width, height = (max(1, round(each * side / longer)) for each in (width, height))
    return fitted_image(image, width, height, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _center(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[-2:]
    own = min(height, width, side)
    top, left = (height - own) // 2, (width - own) // 2
    image = image[:, top : top + own, left : left + own]
    if own == side:
        return image
    return fitted_image(image, side, side, Image.Resampling.BICUBIC)

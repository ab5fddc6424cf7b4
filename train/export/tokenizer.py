"""What a run hands out: sample pictures, and bundles with figures, atlas and model card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from regvq.analysis.atlas import build_atlas
from regvq.analysis.real_patches import gather_patches
from regvq.cards.tokenizer import model_card
from regvq.data import Dataset, has_held_out
from regvq.errors import DataError, PictureError
from regvq.images import shrink, to_pictures, to_tensor
from regvq.metrics.reconstruction import evaluate_tokenizer
from regvq.networks.features import Features
from regvq.tokenizer import Tokenizer

from ..cli.common import called, spread_over
from ..config.tokenizer import RunConfig
from ..recipes.tokenizers import RECIPES, config_of
from .drift_history import remember
from .figures import describe_patches
from .recipe_flags import flags_beyond

QUICK_ATLAS = 4096  # codes up to which every save has an atlas: it grows faster than the codebook
PATCHED = 100  # pictures that real patches of the codes are looked for in
LONGEST = 1024  # pixels of a longer side: of 24 million, one picture takes minutes and gigabytes
FEW = 32  # pictures on which a run judges itself; train/evaluate.py takes all of a data set


def sample_sheet(tokenizer: Tokenizer, pictures: Dataset, folder: Path, step: int) -> None:
    """Four held-out pictures above their reconstructions, as ``folder/STEP.png``."""
    tiles = []
    for image in spread(pictures, 4):
        square = _centre(image, 192)[None].to(tokenizer.device)
        tiles.append(torch.cat([square, tokenizer.reconstruct(square)], dim=2))
    if not tiles:
        return
    sheet = torch.cat(tiles, dim=3)
    folder.mkdir(parents=True, exist_ok=True)
    to_pictures(sheet)[0].save(folder / f"{step:07d}.png")


def export_bundle(
    path: Path,
    *,
    tokenizer: Tokenizer,
    config: RunConfig,
    step: int,
    features: Features | None,
    pictures: Dataset,
    broken: int = 0,
    final: bool = True,
    history: Path | None = None,
) -> None:
    """Evaluate on a few held-out pictures, compute the atlas, and write the bundle.

    A large codebook's atlas takes minutes, so a save that is not ``final`` goes without one; the
    explorer makes one for itself when such a bundle is opened. ``history``: the run's file of how
    its codes drifted, to which this save is added (``train.export.drift_history``).
    """
    counts = torch.zeros(tokenizer.codebook_size, dtype=torch.int64)
    metrics: dict[str, Any] = evaluate_tokenizer(
        tokenizer,
        spread(pictures, FEW),
        features=features,
        device=tokenizer.device,
        code_counts=counts,
    )
    metrics["step"] = step
    held_out = has_held_out(config.data.name, config.data.root)
    metrics["data"] = {"name": config.data.name, "held_out": held_out, "longest": LONGEST}
    about = describe(config, features, broken)
    source = f"{metrics['images']} pictures of the data set {config.data.name!r}"
    atlas = None
    if final or tokenizer.codebook_size <= QUICK_ATLAS:
        atlas = build_atlas(tokenizer, source=source, counts=counts.numpy())
    if history is not None:
        codes = tokenizer.quantizer.codebook().detach().float().cpu().numpy()
        drifted = remember(history, step, codes, counts.numpy())
        if atlas is not None:
            atlas |= drifted
    if final and config.data.name == "scenes":
        # Pieces of pictures go where the bundle goes: for others their owner runs train/patches.py.
        words = "scenes drawn by this project"
        found = gather_patches(tokenizer, spread(pictures, PATCHED), source=words)
        atlas |= found
        metrics["patches"] = describe_patches(found)
    tokenizer.save_pretrained(
        path,
        card=model_card(config.recipe, tokenizer.config, about, metrics),
        metrics=metrics,
        atlas=atlas,
        recipe=about,
    )


def describe(config: RunConfig, features: Features | None, broken: int) -> dict[str, Any]:
    """The run as JSON, without any path: a bundle is published, and folders are its maker's
    affair."""
    data = asdict(config.data) | {"broken_files": broken}
    del data["root"], data["workers"]
    return {
        "name": config.recipe,
        "steps": config.steps,
        "batch": config.batch,
        "seed": config.seed,
        "init": None if config.init is None else called(config.init),
        "train_only": config.train_only,
        "codes_rate": config.codes_rate,
        "flags": flags_beyond(config, config_of(config.recipe)) if config.recipe in RECIPES else "",
        "data": data,
        "features": features.label if features is not None else "none",
        "loss": asdict(config.loss),
        "optimizer": asdict(config.optimizer),
        "stages": asdict(config.stages) if config.stages is not None else None,
        "discriminator": asdict(config.discriminator) if config.loss.adversarial else None,
    }


def spread(pictures: Dataset, count: int) -> Iterator[Tensor]:
    """Up to ``count`` pictures (3, H, W), evenly over the data set; broken ones are left out, also
    where they are too many of a few. Of a camera's they are small versions, at most ``LONGEST``."""
    for index in spread_over(len(pictures), count):
        try:
            image = pictures[index].image
        except (PictureError, DataError):
            continue
        yield _at_most(image, LONGEST)


def _at_most(image: Tensor, side: int) -> Tensor:
    if max(image.shape[-2:]) <= side:
        return image
    return to_tensor(shrink(to_pictures(image[None])[0], side))


def _centre(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[-2:]
    own = min(height, width, side)
    top, left = (height - own) // 2, (width - own) // 2
    image = image[:, top : top + own, left : left + own]
    if own == side:
        return image
    return to_tensor(to_pictures(image[None])[0].resize((side, side), Image.Resampling.BICUBIC))

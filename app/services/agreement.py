"""Whether a prior kept to the map that it was told: what a segmenter finds in its pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import checkpoints, semantic_maps
from .checkpoints import LOCK
from .priors import Painter


def agreement(
    painter: Painter, plan: np.ndarray, pictures: list[Image.Image]
) -> dict[str, Any] | None:
    """How well a segmenter finds the map ``plan`` int64 (H, W) in pictures that ``painter`` drew of
    it, or None where there is no segmenter of its classes."""
    import torch

    from regvq.images import to_tensor
    from regvq.metrics.segmentation import agreement as measured

    known = semantic_maps.legend(painter)
    found = segmenter(known.classes)
    if found is None:
        return None
    name, judge, own = found
    images = torch.stack([to_tensor(picture) for picture in pictures])
    plans = torch.from_numpy(plan)[None].expand(len(images), -1, -1)
    with LOCK:
        each = [measured(judge, images[i : i + 1], plans[i : i + 1]) for i in range(len(images))]
        figures = measured(judge, images, plans)
    return {
        "mean_iou": figures["mean_iou"],
        "pixel_accuracy": figures["pixel_accuracy"],
        "each": [one["pixel_accuracy"] for one in each],
        "segmenter": name,
        "segmenter_mean_iou": own.get("mean_iou"),
    }


def segmenter(classes: tuple[str, ...]) -> tuple[str, Any, dict[str, Any]] | None:
    """The name, network and own figures of a segmenter of these classes, if one is there."""
    from regvq.bundles.bundle import list_bundles
    from regvq.errors import CheckpointError

    for bundle in list_bundles():
        try:
            if bundle.kind != "judge":
                continue
            about = bundle.config.get("judge", {})
            if about.get("name") == "segmenter" and tuple(about.get("classes", ())) == classes:
                judge = _segmenter(bundle.path, checkpoints.written(bundle))
                return bundle.name, judge, bundle.metrics
        except (CheckpointError, AttributeError, TypeError):
            continue  # one that cannot be read judges nothing
    return None


@lru_cache(maxsize=2)
def _segmenter(path: Path, written: int) -> Any:
    from regvq.judges import load_judge
    from regvq.judges.segmenter import Segmenter

    return load_judge(path, Segmenter)

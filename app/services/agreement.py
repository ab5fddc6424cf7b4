"""The agreement of generated pictures with their semantic map, measured by a segmenter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import checkpoints, semantic_maps
from .model_lock import LOCK
from .priors import PriorHandle


def agreement(
    handle: PriorHandle, plan: np.ndarray, pictures: list[Image.Image]
) -> dict[str, Any] | None:
    """Return how well a segmenter finds the map ``plan`` int64 (H, W) in pictures generated from
    it, or None if no segmenter has the map's classes."""
    import torch

    from regvq.images import to_tensor
    from regvq.metrics.segmentation import agreement as measure

    known = semantic_maps.legend(handle)
    found = find_segmenter(known.classes)
    if found is None:
        return None
    name, judge, own = found
    images = torch.stack([to_tensor(picture) for picture in pictures])
    plans = torch.from_numpy(plan)[None].expand(len(images), -1, -1)
    with LOCK:
        each = [measure(judge, images[i : i + 1], plans[i : i + 1]) for i in range(len(images))]
        figures = measure(judge, images, plans)
    return {
        "mean_iou": figures["mean_iou"],
        "pixel_accuracy": figures["pixel_accuracy"],
        "each": [one["pixel_accuracy"] for one in each],
        "segmenter": name,
        "segmenter_mean_iou": own.get("mean_iou"),
    }


def find_segmenter(classes: tuple[str, ...]) -> tuple[str, Any, dict[str, Any]] | None:
    """Return the name, network and own figures of a segmenter of these classes; None without
    one."""
    from regvq.bundles.bundle import list_bundles
    from regvq.errors import CheckpointError

    for bundle in list_bundles():
        try:
            if bundle.kind != "judge":
                continue
            about = bundle.config.get("judge", {})
            if about.get("name") == "segmenter" and tuple(about.get("classes", ())) == classes:
                judge = _load(bundle.path, checkpoints.written_at(bundle))
                return bundle.name, judge, bundle.metrics
        except (CheckpointError, AttributeError, TypeError):
            continue  # an unreadable bundle is ignored
    return None


@lru_cache(maxsize=2)
def _load(path: Path, written: int) -> Any:
    from regvq.judges import load_judge
    from regvq.judges.segmenter import Segmenter

    return load_judge(path, Segmenter)

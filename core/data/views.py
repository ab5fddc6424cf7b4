"""Views of a sample: its centre square at a size, and its map on the grid of tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..images import to_pictures, to_tensor
from . import Sample


def centre(sample: Sample, size: int) -> Sample:
    """The largest square in the middle, resized to (size, size): LANCZOS, the map NEAREST."""
    height, width = sample.image.shape[-2:]
    if (height, width) == (size, size):
        return sample
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    picture = to_pictures(sample.image[None])[0].crop(box)
    image = to_tensor(picture.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0))
    segmentation = sample.segmentation
    if segmentation is not None:
        ids = Image.fromarray(segmentation.numpy().astype(np.uint8)).crop(box)
        ids = ids.resize((size, size), Image.Resampling.NEAREST)
        segmentation = torch.from_numpy(np.asarray(ids).astype(np.int64))
    return replace(sample, image=image, segmentation=segmentation)


def on_grid(segmentation: Tensor, step: int) -> Tensor:
    """Class ids int64 (H, W), 0..255 -> (H/step, W/step): the most frequent of each square.

    Of equally frequent ones the lowest is taken. H and W must be multiples of `step`.
    """
    height, width = (side // step for side in segmentation.shape)
    cells = segmentation.view(height, step, width, step).permute(0, 2, 1, 3)
    cells = cells.reshape(height * width, step * step)
    offset = torch.arange(height * width)[:, None] * 256
    counts = torch.bincount((cells + offset).flatten(), minlength=height * width * 256)
    # argmax names no order among equals, so counts are made distinct.
    ranked = counts.view(-1, 256) * 256 + torch.arange(255, -1, -1)
    return ranked.argmax(1).view(height, width)

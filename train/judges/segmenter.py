"""Training a segmenter, which reads the layout of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..cli.common import evenly_spaced, pick_device
from .training import JudgeRun, progress, recipe_of, to_bytes, train_judge

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.data import Dataset


@dataclass(frozen=True)
class MapData:
    """Pictures with semantic maps."""

    name: Literal["scenes", "ade20k", "celebamask", "coco", "camvid", "facades"] = "scenes"
    """The data set: scenes (drawn by the code), or one in its published layout."""
    root: Path | None = None
    """The folder of a data set that is read from files."""
    crop: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest side of a training crop, as fractions of the picture's short side."""


@dataclass(frozen=True)
class SegmenterRun(JudgeRun):
    """A segmenter: reads the layout of pictures, for mean IoU and pixel accuracy against a semantic
    map."""

    data: MapData = field(default_factory=MapData)


def train_segmenter(run: SegmenterRun) -> Path:
    """Train a segmenter, measure it on held-out pictures, and return its bundle's folder."""
    import torch
    import torch.nn.functional as F

    from regvq.cards.judge import judge_card
    from regvq.data import center, open_dataset
    from regvq.data.contents import parts_of, summary
    from regvq.data.segmentation import UNLABELED
    from regvq.errors import DataError, PictureError
    from regvq.judges.segmenter import Segmenter, SegmenterConfig
    from regvq.metrics.segmentation import LayoutAgreement

    device = pick_device(run.device)
    train, test = (
        open_dataset(
            run.data.name,
            run.data.root,
            size=run.size,
            seed=run.seed,
            split=split,
            crop=run.data.crop,
        )
        for split in ("train", "test")
    )
    for split, data in (("train", train), ("test", test)):
        print(summary(data, split))
        if not parts_of(data).maps:
            raise DataError(f"no picture of {run.data.name}, {split}, has a semantic map.")
    torch.manual_seed(run.seed)
    judge = Segmenter(SegmenterConfig(tuple(train.classes), run.size))
    judge = judge.to(device, memory_format=torch.channels_last)
    images = torch.empty(run.pool, 3, run.size, run.size, dtype=torch.uint8)
    maps = torch.empty(run.pool, run.size, run.size, dtype=torch.uint8)
    for k in progress(range(run.pool), "drawing"):
        sample = train.draw(k)
        images[k] = to_bytes(sample.image)
        maps[k] = UNLABELED if sample.segmentation is None else sample.segmentation
    mirrored_class = mirrored_classes(train)

    def loss_of(batch: Tensor, chosen: Tensor, mirrored: Tensor) -> Tensor:
        truth = maps[chosen].long()
        truth = torch.where(mirrored[:, None, None], mirrored_class[truth.flip(2)], truth)
        logits, truth = judge(batch).float(), truth.to(device)
        total = F.cross_entropy(logits, truth, ignore_index=UNLABELED, reduction="sum")
        # Not "mean", which is NaN if no pixel of a batch is labeled.
        return total / (truth != UNLABELED).sum().clamp_min(1)

    train_judge(judge, run, device, images, loss_of)
    agreement, judged = LayoutAgreement(judge.config.classes), 0
    for index in progress(evenly_spaced(len(test), run.judged), "measuring the judge"):
        try:
            sample = center(test[index], run.size)
        except PictureError as error:
            print(f"skipped: {error}")
            continue
        if sample.segmentation is None:
            continue
        agreement.update(judge.segment(sample.image[None]).cpu(), sample.segmentation[None])
        judged += 1
    figures = {"pictures": judged, **agreement.figures()}
    data = {
        "name": run.data.name,
        "classes": list(train.classes),
        "palette": [[int(value) for value in color] for color in train.palette],
    }
    card = judge_card(
        run.out.name,
        data=run.data.name,
        command=f"segmenter --data.name {run.data.name}",
        purpose=f"it predicts the class of every pixel, out of {len(train.classes)} classes.",
        settings=vars(run),
        scores={
            "Pixel accuracy": figures["pixel_accuracy"],
            f"Mean IoU of {figures['classes_counted']} classes": figures["mean_iou"],
        },
        pictures=judged,
    )
    print(f"pixel accuracy {figures['pixel_accuracy']:.4f}, mean IoU {figures['mean_iou']:.4f}")
    judge.save_pretrained(
        run.out, data=data, metrics=figures, card=card, recipe=recipe_of(run, "segmenter")
    )
    return run.out


def mirrored_classes(data: Dataset) -> Tensor:
    """Return the class that each class becomes in a mirrored picture, int64 (256,)."""
    import torch

    table = torch.arange(256)
    for a, b in getattr(data, "mirrored", ()):
        table[[a, b]] = torch.tensor([b, a])
    return table

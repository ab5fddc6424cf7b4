"""Train a judge: ``python train/judge.py segmenter|attributes --out DIR [--steps N] ...``

A judge is a small network that measures generated pictures: the segmenter reads their layout, the
attribute classifier looks for what captions of drawn landscapes name. It is measured on held-out
pictures first, and its bundle states that score: no figure that it gives can be read without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if not __package__:  # run as a file: python train/judge.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.errors import UsageError, one_line_errors, parse_flags
from .judges.training import JudgeRun, card_of, check_out, recipe_of, train_judge

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.data import Dataset

READING = 8.0  # weight of reading the map beside answering questions; our choice


@dataclass(frozen=True)
class MapData:
    """Pictures with semantic maps."""

    name: Literal["scenes", "ade20k", "celebamask", "coco", "camvid", "facades"] = "scenes"
    """The data set: scenes (drawn by the code), or one as it is published."""
    root: Path | None = None
    """The folder, for data sets that are read from files."""
    crop: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest side of a training crop, as fractions of the picture's short side."""


@dataclass(frozen=True)
class SegmenterRun(JudgeRun):
    """Reads the layout of pictures, for mean IoU and pixel accuracy against a semantic map."""

    data: MapData = field(default_factory=MapData)


@dataclass(frozen=True)
class AttributesRun(JudgeRun):
    """Looks in drawn landscapes for what captions name: hour, weather, things, numbers, colours."""

    begin: Path | None = None
    """A trained segmenter of scenes, or a classifier, of the same size, whose weights to begin
    with; without one, anew."""
    steps: int = 3000
    pool: int = 12_000
    judged: int = 2000
    lr: float = 1.5e-3


def main(arguments: list[str] | None = None) -> Path:
    """The command: trains, measures and writes the bundle; returns its folder."""
    import tyro

    from regvq.errors import CheckpointError, DataError

    commands = tyro.extras.subcommand_type_from_defaults(
        {
            "segmenter": SegmenterRun(out=tyro.MISSING),
            "attributes": AttributesRun(out=tyro.MISSING),
        },
        descriptions={
            "segmenter": SegmenterRun.__doc__ or "",
            "attributes": AttributesRun.__doc__ or "",
        },
        prefix_names=False,
    )
    with one_line_errors(ValueError):  # every setting that makes no sense is a ValueError
        run = parse_flags(commands, arguments, program="python train/judge.py", description=__doc__)
    with one_line_errors(UsageError, DataError, CheckpointError):
        check_out(run.out)
        made = _segmenter(run) if isinstance(run, SegmenterRun) else _attributes(run)
    print(f"the judge is {made}")
    return made


def _segmenter(run: SegmenterRun) -> Path:
    import torch
    import torch.nn.functional as F

    from regvq.data import center, open_dataset
    from regvq.data.segmentation import UNLABELED
    from regvq.errors import DataError, PictureError
    from regvq.judges.segmenter import Segmenter, SegmenterConfig
    from regvq.metrics.segmentation import LayoutAgreement

    from .cli.common import pick_device, spread_over

    device = pick_device(run.device)
    train, test = (
        open_dataset(
            run.data.name, run.data.root, size=run.size, seed=run.seed, split=split,
            crop=run.data.crop,
        )
        for split in ("train", "test")
    )  # fmt: skip
    torch.manual_seed(run.seed)
    judge = Segmenter(SegmenterConfig(tuple(train.classes), run.size))
    judge = judge.to(device, memory_format=torch.channels_last)
    images = torch.empty(run.pool, 3, run.size, run.size, dtype=torch.uint8)
    maps = torch.empty(run.pool, run.size, run.size, dtype=torch.uint8)
    for k in _bar(run.pool, "drawing"):
        sample = train.draw(k)
        if sample.segmentation is None:
            raise DataError(f"a picture of {run.data.name} has no semantic map; check its root.")
        images[k], maps[k] = _bytes(sample.image), sample.segmentation
    swapped = _swapped(train)

    def loss_of(batch: Tensor, chosen: Tensor, mirrored: Tensor) -> Tensor:
        truth = maps[chosen].long()
        truth = torch.where(mirrored[:, None, None], swapped[truth.flip(2)], truth)
        logits, truth = judge(batch).float(), truth.to(device)
        total = F.cross_entropy(logits, truth, ignore_index=UNLABELED, reduction="sum")
        # Not "mean": it is not a number where nothing of a batch is labelled.
        return total / (truth != UNLABELED).sum().clamp_min(1)

    train_judge(judge, run, device, images, loss_of)
    gathered, judged = LayoutAgreement(judge.config.classes), 0
    for index in _bar(spread_over(len(test), run.judged), "judging the judge"):
        try:
            sample = center(test[index], run.size)
        except PictureError as error:
            print(f"skipped: {error}")
            continue
        gathered.update(judge.segment(sample.image[None]).cpu(), sample.segmentation[None])
        judged += 1
    figures = {"pictures": judged, **gathered.figures()}
    data = {
        "name": run.data.name,
        "classes": list(train.classes),
        "palette": [[int(value) for value in colour] for colour in train.palette],
    }
    card = card_of(
        run, data["name"], f"segmenter --data.name {run.data.name}",
        f"Class of every pixel, {len(train.classes)} classes.",
        {
            "Pixel accuracy": figures["pixel_accuracy"],
            f"Mean IoU of {figures['classes_counted']} classes": figures["mean_iou"],
        },
        judged,
    )  # fmt: skip
    print(f"pixel accuracy {figures['pixel_accuracy']:.4f}, mean IoU {figures['mean_iou']:.4f}")
    judge.save_pretrained(
        run.out, data=data, metrics=figures, card=card, recipe=recipe_of(run, "segmenter")
    )
    return run.out


def _attributes(run: AttributesRun) -> Path:
    import torch
    import torch.nn.functional as F

    from regvq.bundles.bundle import find_bundle
    from regvq.data.scenes import CLASSES, QUESTIONS, Scenes, answers, named_in
    from regvq.judges import load_judge
    from regvq.judges.attributes import AttributeClassifier, AttributesConfig
    from regvq.judges.segmenter import Segmenter
    from regvq.metrics.caption_agreement import AnswerAgreement

    from .cli.common import pick_device

    device = pick_device(run.device)
    torch.manual_seed(run.seed)
    judge = AttributeClassifier(AttributesConfig(tuple(QUESTIONS.items()), CLASSES, run.size))
    if run.begin is not None:
        reads = find_bundle(run.begin).config.get("judge", {}).get("name") == "segmenter"
        begun = load_judge(run.begin, Segmenter if reads else AttributeClassifier)
        part = judge.reader if reads else judge
        if begun.config != part.config:
            raise UsageError(
                f"--begin {run.begin} is not a judge of scenes of {run.size} pixels; "
                f"train one with python train/judge.py segmenter --size {run.size}"
            )
        part.load_state_dict(begun.state_dict())
    judge = judge.to(device, memory_format=torch.channels_last)
    train = Scenes(run.size, seed=run.seed, length=run.pool)
    images = torch.empty(run.pool, 3, run.size, run.size, dtype=torch.uint8)
    maps = torch.empty(run.pool, run.size, run.size, dtype=torch.uint8)
    truths = torch.empty(run.pool, len(QUESTIONS), dtype=torch.int64)
    for index in _bar(run.pool, "drawing"):
        sample, attributes = train.item_and_attributes(index)
        images[index], maps[index] = _bytes(sample.image), sample.segmentation
        truths[index] = judge.encode(answers(attributes, sample.segmentation.numpy()))
    other_side = _other_side(judge.names)
    # What is rare or small is asked for as often as what is large.
    frequency = torch.bincount(maps.flatten(), minlength=len(CLASSES)) / maps.numel()
    weight = (frequency + 1e-5).rsqrt()
    weight = (weight / (weight * frequency).sum()).to(device)

    def loss_of(batch: Tensor, chosen: Tensor, mirrored: Tensor) -> Tensor:
        truth = truths[chosen]
        truth = torch.where(mirrored[:, None], truth[:, other_side], truth)
        there = maps[chosen].long()
        there = torch.where(mirrored[:, None, None], there.flip(2), there)
        logits, read = judge.look(batch)
        reading = F.cross_entropy(read.float(), there.to(device), weight)
        return judge.loss(logits, truth.to(device)) + READING * reading

    train_judge(judge, run, device, images, loss_of)
    test = Scenes(run.size, seed=run.seed, length=max(run.judged, 1), split="test")
    named, every = AnswerAgreement(judge.names), AnswerAgreement(judge.names)
    for index in _bar(run.judged, "judging the judge"):
        sample, attributes = test.item_and_attributes(index)
        given = judge.answer(sample.image[None])
        named.update(given, judge.encode(named_in(attributes))[None])
        truth = answers(attributes, sample.segmentation.numpy())
        every.update(given, judge.encode(truth)[None])
    figures = {"pictures": run.judged, "named": named.figures(), "every": every.figures()}
    data = {"name": "scenes", "seed": run.seed}
    card = card_of(
        run, data["name"], "attributes" + (" --begin DIR" if run.begin is not None else ""),
        f"Answers to {len(QUESTIONS)} questions about a drawn landscape.",
        {
            "Right, of what the captions name": figures["named"]["recognised"],
            "Pictures with all that their captions name": figures["named"]["all_recognised"],
            "Right, of everything that has a true answer": figures["every"]["recognised"],
        },
        run.judged,
    )  # fmt: skip
    for key, what in (("named", "what captions name"), ("every", "all that has an answer")):
        print(f"{what}: {figures[key]['recognised']:.4f} right")
    judge.save_pretrained(
        run.out, data=data, metrics=figures, card=card, recipe=recipe_of(run, "attributes")
    )
    return run.out


def _bar(what: int | list[int], says: str) -> Any:
    from tqdm import tqdm

    return tqdm(range(what) if isinstance(what, int) else what, unit="picture", desc=says)


def _bytes(image: Tensor) -> Tensor:
    """An image in [-1, 1] as uint8."""
    return ((image + 1) * 127.5).round().clamp(0, 255).byte()


def _swapped(data: Dataset) -> Tensor:
    """The class that each becomes in a mirrored picture, int64 (256,)."""
    import torch

    table = torch.arange(256)
    for a, b in getattr(data, "mirrored", ()):
        table[[a, b]] = torch.tensor([b, a])
    return table


def _other_side(names: tuple[str, ...]) -> list[int]:
    """Where each question's answer stands in a mirrored picture: left and right change places."""
    turned = {" left": " right", " right": " left"}
    other = []
    for name in names:
        side = next((end for end in turned if name.endswith(end)), None)
        other.append(names.index(name.removesuffix(side) + turned[side] if side else name))
    return other


if __name__ == "__main__":
    main()

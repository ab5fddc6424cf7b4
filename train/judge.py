"""Train a judge: ``python train/judge.py segmenter|attributes --out DIR [--steps N] ...``

A judge is a small network that measures generated pictures: the segmenter reads their layout, the
attribute classifier looks for what captions of drawn landscapes name. It is measured on held-out
pictures first, and its bundle states that score: no figure that it gives can be read without it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import project_root  # noqa: F401  (first of our modules: it makes core importable)

from train.errors import UsageError, one_line_errors, parse_flags
from train.judging import JudgeRun, check_out, train_judge

if TYPE_CHECKING:
    from torch import Tensor

    from core.data import Dataset

CELLS = 3.0  # weight of finding classes in cells beside answering questions; our choice


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

    steps: int = 3000
    pool: int = 12_000
    judged: int = 2000
    lr: float = 1.5e-3


def main(arguments: list[str] | None = None) -> Path:
    """The command: trains, measures and writes the bundle; returns its folder."""
    import tyro

    from core.data import DataError

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
    with one_line_errors(UsageError, DataError):
        check_out(run.out)
        made = _segmenter(run) if isinstance(run, SegmenterRun) else _attributes(run)
    print(f"the judge is {made}")
    return made


def _segmenter(run: SegmenterRun) -> Path:
    import torch
    import torch.nn.functional as F

    from core.data import DataError, open_dataset
    from core.data.maps import UNLABELLED
    from core.data.views import centre
    from core.judges import save_judge
    from core.metrics.layout import LayoutAgreement
    from core.networks.segmenter import Segmenter, SegmenterConfig
    from train.common import pick_device, spread_over

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
        logits = judge(batch).float()
        return F.cross_entropy(logits, truth.to(device), ignore_index=UNLABELLED)

    train_judge(judge, run, device, images, loss_of)
    gathered = LayoutAgreement(judge.config.classes)
    held_out = spread_over(len(test), run.judged)
    for index in _bar(held_out, "judging the judge"):
        sample = centre(test[index], run.size)
        gathered.update(judge.segment(sample.image[None]).cpu(), sample.segmentation[None])
    figures = {"pictures": len(held_out), **gathered.figures()}
    data = {
        "name": run.data.name,
        "classes": list(train.classes),
        "palette": [[int(value) for value in colour] for colour in train.palette],
    }
    card = _card(
        run, data, "segmenter",
        f"Class of every pixel, {len(train.classes)} classes.",
        {
            "Pixel accuracy": figures["pixel_accuracy"],
            f"Mean IoU of {figures['classes_counted']} classes": figures["mean_iou"],
        },
        len(held_out),
    )  # fmt: skip
    print(f"pixel accuracy {figures['pixel_accuracy']:.4f}, mean IoU {figures['mean_iou']:.4f}")
    save_judge(
        run.out, judge, data=data, metrics=figures, card=card, recipe=_recipe(run, "segmenter")
    )
    return run.out


def _attributes(run: AttributesRun) -> Path:
    import torch

    from core.data.scenes import QUESTIONS, Scenes, answers, named_in
    from core.judges import save_judge
    from core.metrics.captions import AnswerAgreement
    from core.networks.attributes import AttributeClassifier, AttributesConfig
    from train.common import pick_device

    device = pick_device(run.device)
    torch.manual_seed(run.seed)
    judge = AttributeClassifier(AttributesConfig(tuple(QUESTIONS.items()), run.size))
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

    def loss_of(batch: Tensor, chosen: Tensor, mirrored: Tensor) -> Tensor:
        truth = truths[chosen]
        truth = torch.where(mirrored[:, None], truth[:, other_side], truth)
        there = maps[chosen].long()
        there = torch.where(mirrored[:, None, None], there.flip(2), there)
        logits, cells = judge.look(batch)
        found = judge.cell_loss(cells, there.to(device))
        return judge.loss(logits, truth.to(device)) + CELLS * found

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
    card = _card(
        run, data, "attributes",
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
    save_judge(
        run.out, judge, data=data, metrics=figures, card=card, recipe=_recipe(run, "attributes")
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


def _recipe(run: JudgeRun, command: str) -> dict[str, Any]:
    """The run as JSON, without any path."""
    settings = {key: value for key, value in asdict(run).items() if key not in ("out", "device")}
    if "data" in settings:
        settings["data"].pop("root")
    return {"command": command, **settings}


def _card(
    run: JudgeRun,
    data: dict[str, Any],
    command: str,
    what: str,
    scores: dict[str, float],
    pictures: int,
) -> str:
    source = f"--data.name {data['name']} " if isinstance(run, SegmenterRun) else ""
    return "\n".join(
        [
            "---",
            "library_name: regvq-studio",
            "---",
            "",
            f"# {run.out.name}",
            "",
            f"A judge of RegVQ Studio, trained on the data set `{data['name']}`. {what} It "
            "measures generated pictures and is no model of its subject.",
            "",
            f"- **Command:** `python train/judge.py {command} {source}--steps {run.steps} "
            f"--pool {run.pool} --size {run.size} --seed {run.seed}`",
            f"- **Its own score**, on {pictures} held-out pictures of {run.size} pixels:",
            "",
            "| | |",
            "|---|---|",
            *(f"| {label} | {value:.1%} |" for label, value in scores.items()),
            "",
        ]
    )


if __name__ == "__main__":
    main()

"""Training a classifier of pictures by class, on pretrained features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..cli.common import evenly_spaced, pick_device
from ..cli.errors import UsageError
from .training import progress, recipe_of

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.data import Dataset
    from regvq.judges.labels import LabelClassifier
    from regvq.networks.features import Features


@dataclass(frozen=True)
class LabelData:
    """Pictures with labels."""

    name: Literal["imagenet"] = "imagenet"
    """The data set, in its published layout; a part of its classes is enough."""
    root: Path | None = None
    """Its folder."""


@dataclass(frozen=True)
class LabelFeatures:
    """The features on which classes are told apart."""

    name: Literal["squeezenet", "alexnet", "vgg16"] = "alexnet"
    """The network."""
    weights: Path | None = None
    """A file of its weights; without one, torchvision's cache is used, then a download."""


@dataclass(frozen=True)
class LabelsRun:
    """A classifier by class: tells whether a generated picture is taken for its class."""

    out: Path
    """The bundle's folder."""
    data: LabelData = field(default_factory=LabelData)
    features: LabelFeatures = field(default_factory=LabelFeatures)
    size: int = 128
    """Side of the pictures, in pixels."""
    pool: int = 20_000
    """Training pictures at most, spread evenly over the data set."""
    judged: int = 1000
    """Held-out pictures for the judge's own score."""
    penalty: float = 1e-3
    """Weight of the squared weights in the loss."""
    seed: int = 0
    """Seed of the run; the result does not depend on it."""
    device: str = "auto"
    """Device: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""

    def __post_init__(self) -> None:
        for name in ("size", "pool", "judged"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size < 32:
            raise ValueError(f"size must be at least 32, got {self.size}")
        if self.penalty < 0:
            raise ValueError(f"penalty must be 0 or more, got {self.penalty}")


BATCH = 50  # pictures
ROUNDS = 200  # of L-BFGS, which has converged long before


def train_labels(run: LabelsRun) -> Path:
    """Train a classifier, measure it on held-out pictures, and return its bundle's folder."""
    import torch

    from regvq.cards.judge import judge_card
    from regvq.data import open_dataset
    from regvq.data.contents import summary
    from regvq.judges.labels import LabelClassifier, LabelsConfig
    from regvq.networks.features import load_features

    if run.data.root is None:
        raise UsageError("a classifier by class needs pictures: name their folder by --data.root")
    device = pick_device(run.device)
    train, test = (
        open_dataset(run.data.name, run.data.root, size=run.size, split=split)
        for split in ("train", "test")
    )
    for split, data in (("train", train), ("test", test)):
        print(summary(data, split))
    features = load_features(run.features.name, run.features.weights)
    assert features is not None
    features = features.to(device, memory_format=torch.channels_last)
    described, labels = _described(features, train, run.pool, run.size, "looking")
    names = tuple(getattr(train, "labels", ()))
    config = LabelsConfig(names, run.features.name, described.shape[1], run.size)
    judge = fit(LabelClassifier(config).to(device), described, labels, run.penalty)
    judged, truth = _described(features, test, run.judged, run.size, "measuring the judge")
    with torch.no_grad():
        right = float((judge(judged).argmax(1) == truth).double().mean())
    figures = {"pictures": len(truth), "accuracy": right, "features": features.label}
    card = judge_card(
        run.out.name,
        data=run.data.name,
        command=f"labels --data.name {run.data.name} --data.root DIR "
        f"--features.name {run.features.name}",
        purpose=f"it tells which of {len(names)} classes a picture shows, by a linear map of the "
        f"features of {features.label}.",
        settings=vars(run),
        scores={"Pictures taken for their class": right},
        pictures=len(truth),
    )
    print(f"{right:.1%} of {len(truth):,} held-out pictures are taken for their class")
    judge.save_pretrained(
        run.out,
        data={"name": run.data.name, "labels": list(names)},
        metrics=figures,
        card=card,
        recipe=_recipe(run),
    )
    return run.out


def fit(
    judge: LabelClassifier, described: Tensor, labels: Tensor, penalty: float
) -> LabelClassifier:
    """Fit the classifier to features (N, F) and labels int64 (N,) by L-BFGS; return it.

    The loss, cross entropy plus ``penalty`` times the squared weights, is convex: the result does
    not depend on the start.
    """
    import torch
    import torch.nn.functional as F

    judge.mean.copy_(described.mean(0))
    judge.deviation.copy_(described.std(0).clamp_min(1e-6))
    torch.nn.init.zeros_(judge.head.weight)
    torch.nn.init.zeros_(judge.head.bias)
    optimizer = torch.optim.LBFGS(
        judge.head.parameters(), max_iter=ROUNDS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(judge(described), labels)
        value = value + penalty * judge.head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return judge.eval()


def _described(
    features: Features, data: Dataset, most: int, size: int, words: str
) -> tuple[Tensor, Tensor]:
    """Return the features (N, F) and labels (N,) of center squares; broken pictures are skipped."""
    import torch

    from regvq.errors import DataError
    from regvq.judges.labels import describe

    rows, labels = [], []
    for images, found in _squares(data, evenly_spaced(len(data), most), size, words):
        device = features.mean.device
        rows.append(describe(features, images.to(device, memory_format=torch.channels_last)))
        labels.append(torch.tensor(found, device=device))
    if not rows:
        raise DataError("no picture has a label; a classifier by class needs labeled pictures.")
    return torch.cat(rows), torch.cat(labels)


def _squares(
    data: Dataset, chosen: Sequence[int], size: int, words: str
) -> Iterator[tuple[Tensor, list[int]]]:
    import torch

    from regvq.data import center
    from regvq.errors import PictureError

    images: list[Tensor] = []
    labels: list[int] = []
    for index in progress(chosen, words):
        try:
            sample = center(data[index], size)
        except PictureError as error:
            print(f"skipped: {error}")
            continue
        if sample.label >= 0:
            images.append(sample.image)
            labels.append(sample.label)
        if len(images) == BATCH:
            yield torch.stack(images), labels
            images, labels = [], []
    if images:
        yield torch.stack(images), labels


def _recipe(run: LabelsRun) -> dict[str, object]:
    found = recipe_of(run, "labels")
    found["features"].pop("weights")
    return found

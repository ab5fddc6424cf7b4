"""Training linear judges on pretrained features: their settings, features and fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..cli.common import evenly_spaced
from .training import progress, recipe_of

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.data import Dataset, Sample
    from regvq.judges.linear import LinearJudge
    from regvq.networks.features import Features

BATCH = 50  # pictures
ROUNDS = 200  # of L-BFGS, which has converged long before

AnyJudge = TypeVar("AnyJudge", bound="LinearJudge")


@dataclass(frozen=True)
class JudgeFeatures:
    """The pretrained features on which a linear judge decides."""

    name: Literal["squeezenet", "alexnet", "vgg16"] = "alexnet"
    """The network."""
    weights: Path | None = None
    """A file of its weights; without one, torchvision's cache is used, then a download."""


@dataclass(frozen=True)
class LinearRun:
    """The settings that both kinds of linear judge have."""

    out: Path
    """The bundle's folder."""
    features: JudgeFeatures = field(default_factory=JudgeFeatures)
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


def opened(data: Any, size: int, **more: Any) -> tuple[Dataset, Dataset]:
    """Return the pictures of ``data``, its ``name`` and ``root``, to train on and to be judged on;
    print a line about each. ``more``: of ``open_dataset``."""
    from regvq.data import open_dataset
    from regvq.data.contents import summary

    train, test = (
        open_dataset(data.name, data.root, size=size, split=split, **more)
        for split in ("train", "test")
    )
    print(summary(train, "train"), summary(test, "test"), sep="\n")
    return train, test


def network(run: LinearRun, device: str) -> Features:
    """Return the features of a run on its device. Raises FeatureError without weights."""
    import torch

    from regvq.networks.features import load_features

    features = load_features(run.features.name, run.features.weights)
    assert features is not None
    return features.to(device, memory_format=torch.channels_last)


def fit(
    judge: AnyJudge, described: Tensor, loss: Callable[[Tensor], Tensor], penalty: float
) -> AnyJudge:
    """Fit a judge to features (N, F) by L-BFGS; return it.

    ``loss`` of the logits (N, K), plus ``penalty`` times the squared weights, must be convex: the
    result does not depend on the start.
    """
    import torch

    judge.mean.copy_(described.mean(0))
    judge.deviation.copy_(described.std(0).clamp_min(1e-6))
    torch.nn.init.zeros_(judge.head.weight)
    torch.nn.init.zeros_(judge.head.bias)
    optimizer = torch.optim.LBFGS(
        judge.head.parameters(), max_iter=ROUNDS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(judge(described)) + penalty * judge.head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return judge.eval()


def described(
    features: Features,
    data: Dataset,
    most: int,
    size: int,
    words: str,
    answer: Callable[[Sample], Any],
) -> tuple[Tensor, Tensor]:
    """Return the features (N, F) of center squares and their answers, a tensor of N rows.

    ``answer``: what is known of a picture, or None if it is left out. Broken pictures are skipped.
    Raises DataError if no picture is left.
    """
    import torch

    from regvq.errors import DataError
    from regvq.judges.linear import describe

    rows, answers = [], []
    for images, found in _squares(data, evenly_spaced(len(data), most), size, words, answer):
        device = features.mean.device
        rows.append(describe(features, images.to(device, memory_format=torch.channels_last)))
        answers.append(torch.tensor(found, device=device))
    if not rows:
        raise DataError("no picture says what it shows; a judge needs labels or captions.")
    return torch.cat(rows), torch.cat(answers)


def _squares(
    data: Dataset,
    chosen: Sequence[int],
    size: int,
    words: str,
    answer: Callable[[Sample], Any],
) -> Iterator[tuple[Tensor, list[Any]]]:
    import torch

    from regvq.data import center
    from regvq.errors import PictureError

    images: list[Tensor] = []
    answers: list[Any] = []
    for index in progress(chosen, words):
        try:
            sample = center(data[index], size)
        except PictureError as error:
            print(f"skipped: {error}")
            continue
        if (known := answer(sample)) is not None:
            images.append(sample.image)
            answers.append(known)
        if len(images) == BATCH:
            yield torch.stack(images), answers
            images, answers = [], []
    if images:
        yield torch.stack(images), answers


def recipe(run: LinearRun, kind: str) -> dict[str, Any]:
    """Return the recipe of a judge's bundle: the settings, without the place of the weights."""
    found = recipe_of(run, kind)
    found["features"].pop("weights")
    return found

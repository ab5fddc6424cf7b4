"""Training a classifier of pictures by class, on pretrained features."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from ..cli.common import pick_device
from ..cli.errors import UsageError
from .linear import LinearRun, described, fit, network, opened, recipe


@dataclass(frozen=True)
class LabelData:
    """Pictures with labels."""

    name: Literal["imagenet"] = "imagenet"
    """The data set, in its published layout; a part of its classes is enough."""
    root: Path | None = None
    """Its folder."""


@dataclass(frozen=True)
class LabelsRun(LinearRun):
    """A classifier by class: tells whether a generated picture is taken for its class."""

    data: LabelData = field(default_factory=LabelData)


def train_labels(run: LabelsRun) -> Path:
    """Train a classifier, measure it on held-out pictures, and return its bundle's folder."""
    import torch
    import torch.nn.functional as F

    from regvq.cards.judge import judge_card
    from regvq.data import Sample
    from regvq.judges.labels import LabelClassifier, LabelsConfig

    if run.data.root is None:
        raise UsageError("a classifier by class needs pictures: name their folder by --data.root")
    device = pick_device(run.device)
    train, test = opened(run.data, run.size)

    def label(sample: Sample) -> int | None:
        return sample.label if sample.label >= 0 else None

    features = network(run, device)
    seen, labels = described(features, train, run.pool, run.size, "looking", label)
    names = tuple(getattr(train, "labels", ()))
    config = LabelsConfig(names, run.features.name, seen.shape[1], run.size)
    judge = LabelClassifier(config).to(device)
    fit(judge, seen, partial(F.cross_entropy, target=labels), run.penalty)
    judged, truth = described(features, test, run.judged, run.size, "measuring the judge", label)
    with torch.no_grad():
        right = float((judge(judged).argmax(1) == truth).double().mean())
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
        metrics={"pictures": len(truth), "accuracy": right, "features": features.label},
        card=card,
        recipe=recipe(run, "labels"),
    )
    return run.out

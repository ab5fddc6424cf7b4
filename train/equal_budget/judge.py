"""The figures of a finished run on features that no run trained on: LPIPS and a Fréchet distance.

The study's perceptual loss and its own distances use SqueezeNet's features, which may favor a run
for what only they see. AlexNet's and VGG-16's are judges of another training.

``OUT/NAME/judged.json``: ``lpips_alex`` and ``lpips_vgg`` (means over the pictures), ``alexnet_fd``
(Fréchet distance of reconstructions to pictures on AlexNet's features), ``images``, and ``labels``
of the features by figure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regvq.bundles.storage import load_weights, write_json
from regvq.checkpoints import load_tokenizer
from regvq.data import open_dataset
from regvq.errors import FeatureError
from regvq.metrics.lpips import Lpips, load_lpips
from regvq.metrics.reconstruction import evaluate_tokenizer
from regvq.networks.features import Features, load_features
from regvq.tokenizer import Tokenizer

from ..export.tokenizer import sample_pictures
from .execute import WEIGHTS
from .results import finished, finished_bundle, read_result
from .runs import Study, StudyRun

FIGURES = ("lpips_alex", "lpips_vgg", "alexnet_fd")


@dataclass(frozen=True)
class Networks:
    """The networks that judge a run."""

    lpips: tuple[Lpips, ...]
    features: Features


def load_networks(alexnet: Path | None, vgg16: Path | None) -> Networks:
    """Load AlexNet and VGG-16 from files of torchvision's weights (None: its cache, else a
    download). Raises FeatureError if they cannot be had or are others."""
    features = load_features("alexnet", alexnet)
    assert features is not None
    lpips = load_lpips("alex", alexnet), load_lpips("vgg", vgg16)
    for each in lpips:
        if not each.published:
            raise FeatureError(f"LPIPS needs torchvision's weights, and {each.label} has others.")
    return Networks(lpips, features)


def judge(run: StudyRun, study: Study, networks: Networks, out: Path) -> dict[str, Any]:
    """Measure a finished run's tokenizer on the study's held-out pictures.

    Writes ``out/NAME/judged.json`` and returns its contents. Raises CheckpointError if the run
    saved no tokenizer.
    """
    tokenizer = _trained(run, study, out)
    pictures = open_dataset("folder", study.root, size=study.size, split="test")
    figures = evaluate_tokenizer(
        tokenizer,
        sample_pictures(pictures, study.limit),
        features=networks.features,
        lpips=networks.lpips,
    )
    labels = {each.key: each.label for each in networks.lpips}
    labels["alexnet_fd"] = networks.features.label
    result = {key: figures[key] for key in FIGURES}
    result |= {"images": figures["images"], "labels": labels}
    write_json(out / run.name / "judged.json", result)
    return result


def _trained(run: StudyRun, study: Study, out: Path) -> Tokenizer:
    if run.kind != "outside":
        return load_tokenizer(finished_bundle(out, run.name), "cpu")
    weights = finished(out, run.name, WEIGHTS)
    network = read_result(out / run.name / "result.json")["budget"]["network"]
    config = run.config(replace(study, widths=tuple(network["widths"]))).tokenizer
    tokenizer = Tokenizer(config)
    load_weights(tokenizer, weights)
    return tokenizer

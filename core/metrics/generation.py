"""The evaluation of a prior's pictures, beside real pictures and their reconstructions.

Every figure of a judge is measured on three versions: on the drawn pictures, on the real pictures
whose conditions were given, and on their reconstructions. Errors of the judge itself, and losses of
the tokenizer, are not the prior's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..conditions import Condition, ConditionConfig, LabelConfig, SemanticConfig, TextConfig
from ..conditions.from_samples import captions_of, condition_of, maps_of, require_parts
from ..data.contents import NOTHING, parts_in
from ..data.sample import Sample
from ..data.segmentation import UNLABELED
from ..errors import DataError
from ..tokenizer import Tokenizer
from .caption_agreement import AnswerAgreement
from .clip import CaptionFit, Clip
from .comparison import as_shown
from .frechet import FrechetStatistics
from .segmentation import LayoutAgreement, agreement_of

if TYPE_CHECKING:
    from ..judges.segmenter import Segmenter
    from ..priors import Prior
    from .inception import Inception

DRAWN, REAL, RECONSTRUCTED = "drawn", "real", "reconstructed"
OTHERS = "real of other captions"
FRECHET = "frechet_distance"


class HeldOut(NamedTuple):
    """A held-out picture and, if known, the answers of its caption: question -> answer."""

    sample: Sample
    named: Mapping[str, int] | None = None


class Answering(Protocol):
    """A judge that answers questions about pictures (``AttributeClassifier``, ``WordAnswers``)."""

    @property
    def names(self) -> tuple[str, ...]:
        """The questions."""
        ...

    def answer(self, images: Tensor) -> Tensor:
        """Return the answers int64 (B, Q) for images (B, 3, H, W) in [-1, 1]."""
        ...

    def encode(self, answers: Mapping[str, int]) -> Tensor:
        """Return answers by question as int64 (Q,), -1 where an answer is missing."""
        ...


@dataclass(frozen=True)
class Judges:
    """The available judges; figures of a judge that is None are left out.

    segmenter: reads semantic maps. classifier: answers the questions of captions. features: images
    (B, 3, H, W) to (B, F), for the Fréchet distance; label: a description of the features. clip:
    compares pictures with their captions. labels: images (B, 3, H, W) to the classes int64 (B,)
    that they are taken for. inception: the features of FID.
    """

    segmenter: Segmenter | None = None
    classifier: Answering | None = None
    features: Callable[[Tensor], Tensor] | None = None
    label: str = ""
    clip: Clip | None = None
    labels: Callable[[Tensor], Tensor] | None = None
    inception: Inception | None = None


def judge_prior(
    prior: Prior,
    tokenizer: Tokenizer,
    held_out: Iterable[HeldOut],
    judges: Judges,
    *,
    sampling: Mapping[str, Any],
    conditions: Sequence[ConditionConfig] | None = None,
    seed: int = 0,
    batch: int = 16,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Draw a picture for each held-out one, with its conditions, and judge them all.

    Pictures must be squares of one size. ``sampling``: the settings of ``Prior.sample``.
    ``conditions``: those of the prior's conditions that are given; by default all. Returns
    ``pictures``, ``sampling``, ``seed``, ``seconds_per_picture`` (drawing and decoding, in batches
    of ``batch``), ``bits_per_token`` (of a discrete prior; for a prior that draws its maps,
    ``bits_with_map``, which includes those of the map, over the batches with maps), and, as far as
    the judges are available, by version: ``named_right`` (also of real pictures with all other
    captions: the level of chance), ``class_accuracy`` (the share taken for its class),
    ``mean_iou``, ``pixel_accuracy``,
    ``frechet_distance`` (to the real ones, with ``features``), with inception ``fid`` (with other
    than the published weights, the ``key`` of its own; ``features_of`` has the label),
    ``clip_score`` and ``r_precision`` (with ``r_precision_among`` and the model's label, ``clip``).
    Raises DataError if there was no picture or a condition is missing.
    """
    noise = torch.Generator(tokenizer.device).manual_seed(seed)
    given = prior.config.conditions if conditions is None else conditions
    tables = _Tables(judges, given)
    seconds, seen = 0.0, 0
    bits: dict[str, list[float]] = {}
    present = NOTHING
    for group in _groups(held_out, batch):
        samples = [each.sample for each in group]
        images = torch.stack([sample.image for sample in samples]).to(tokenizer.device)
        maps = maps_of(samples)
        labels = torch.tensor([sample.label for sample in samples])
        present = parts_in(samples, present)
        captions = captions_of(samples)
        # A batch may be without any map, although its data set has some.
        known = torch.full((len(samples), 1, 1), UNLABELED) if maps is None else maps
        condition = condition_of(given, captions, known, labels)
        condition = None if condition is None else condition.to(tokenizer.device)
        start = time.perf_counter()
        drawn = prior.generate(condition, len(group), generator=noise, **sampling)
        painted = tokenizer.decode(drawn)
        if images.is_cuda:
            torch.cuda.synchronize()
        seconds += time.perf_counter() - start
        ids = tokenizer.encode(images)
        if not drawn.is_floating_point():
            key, found = _bits(prior, ids, condition, maps, noise)
            bits.setdefault(key, []).extend([found] * len(group))
        versions = {DRAWN: painted, REAL: images, RECONSTRUCTED: tokenizer.decode(ids)}
        for version, pictures in versions.items():
            shown = as_shown(tokenizer.visible(pictures))
            tables.add(version, shown, maps, [each.named for each in group])
            tables.add_captions(version, shown, captions)
            tables.add_labels(version, shown, labels)
        seen += len(group)
        if progress is not None:
            progress(seen)
    if not seen:
        raise DataError("there was no picture to compare with; give a data set that is not empty.")
    require_parts(given, present, "the pictures")
    figures: dict[str, Any] = {"pictures": seen, "sampling": dict(sampling), "seed": seed}
    figures["seconds_per_picture"] = seconds / seen
    figures |= {key: fmean(found) for key, found in bits.items()}
    return figures | tables.figures()


def _bits(
    prior: Prior,
    ids: Tensor,
    condition: Condition | None,
    maps: Tensor | None,
    noise: torch.Generator,
) -> tuple[str, float]:
    """Return the key and the value of the bits per token.

    For a prior that draws the map itself, they include those of the picture's true map: together
    they are an upper bound of the tokens' own.
    """
    map_given = condition is not None and condition.segmentation is not None
    if not prior.draws_layout or map_given or maps is None:
        return "bits_per_token", float(prior.loss(ids, condition, noise)["bits"])
    condition = replace(condition or Condition(), segmentation=maps.to(ids.device))
    losses = prior.loss(ids, condition, noise)
    return "bits_with_map", float(losses["bits"] + losses["layout_bits"])


class _Tables:
    """The figures of all judges by version."""

    def __init__(self, judges: Judges, conditions: Iterable[ConditionConfig]) -> None:
        self.judges = judges
        kinds = {type(config) for config in conditions}
        # A judge is used only for conditions that the prior was given.
        self.segmenter = judges.segmenter if SemanticConfig in kinds else None
        self.classifier = judges.classifier if TextConfig in kinds else None
        self.clip = judges.clip if TextConfig in kinds else None
        self.classify = judges.labels if LabelConfig in kinds else None
        self.taken: dict[str, list[bool]] = {}
        self.layouts: dict[str, LayoutAgreement] = {}
        self.answers: dict[str, AnswerAgreement] = {}
        self.sets: dict[str, Callable[[Tensor], Tensor]] = {}
        if judges.features is not None:
            self.sets[FRECHET] = judges.features
        if judges.inception is not None:
            self.sets[judges.inception.key] = judges.inception
        self.statistics: dict[str, dict[str, FrechetStatistics]] = {key: {} for key in self.sets}
        self.fits: dict[str, CaptionFit] = {}

    @torch.no_grad()
    def add(
        self,
        version: str,
        images: Tensor,
        maps: Tensor | None,
        named: list[Mapping[str, int] | None],
    ) -> None:
        segmenter, classifier = self.segmenter, self.classifier
        if segmenter is not None and maps is not None:
            if version not in self.layouts:
                self.layouts[version] = LayoutAgreement(segmenter.config.classes)
            self.layouts[version].update(*agreement_of(segmenter, images, maps))
        known = [each for each in named if each is not None]
        if classifier is not None and len(known) == len(named):
            wanted = torch.stack([classifier.encode(each) for each in known])
            table = self.answers.setdefault(version, AnswerAgreement(classifier.names))
            table.update(classifier.answer(images), wanted)
        for key, features_of in self.sets.items():
            features, gathered = features_of(images), self.statistics[key]
            if version not in gathered:
                gathered[version] = FrechetStatistics(features.shape[1])
            gathered[version].update(features)

    def add_captions(self, version: str, images: Tensor, captions: tuple[str, ...]) -> None:
        rows = [row for row, caption in enumerate(captions) if caption]
        if self.clip is not None and rows:
            fit = self.fits.setdefault(version, CaptionFit(self.clip))
            fit.update(images[rows], tuple(captions[row] for row in rows))

    def add_labels(self, version: str, images: Tensor, labels: Tensor) -> None:
        rows = (labels >= 0).nonzero().flatten()
        if self.classify is not None and len(rows):
            right = self.classify(images[rows.to(images.device)]).cpu() == labels[rows]
            self.taken.setdefault(version, []).extend(right.tolist())

    def figures(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self.taken:
            found = {version: sum(right) / len(right) for version, right in self.taken.items()}
            out["class_accuracy"] = found
        if self.answers and self.answers[REAL].asked:
            found = {version: table.figures() for version, table in self.answers.items()}
            out["named_right"] = {v: figures["recognised"] for v, figures in found.items()}
            by_chance = self.answers[REAL].by_chance()
            if by_chance is not None:
                out["named_right"][OTHERS] = by_chance
            out["named_asked"] = found[REAL]["asked"]
            out["questions"] = {
                name: {
                    version: found[version]["questions"][name]["recognised"]
                    for version in (DRAWN, REAL, RECONSTRUCTED)
                }
                for name in found[REAL]["questions"]
            }
        if self.layouts:
            found = {version: table.figures() for version, table in self.layouts.items()}
            for key in ("mean_iou", "pixel_accuracy"):
                out[key] = {version: figures[key] for version, figures in found.items()}
        for key, gathered in self.statistics.items():
            if gathered[REAL].count > 1:
                out[key] = {
                    version: gathered[REAL].distance(gathered[version])
                    for version in (DRAWN, RECONSTRUCTED)
                }
        if FRECHET in out:
            out["features"] = self.judges.label
        if self.judges.inception is not None and self.judges.inception.key in out:
            out["features_of"] = {self.judges.inception.key: self.judges.inception.label}
        if self.clip is not None and self.fits:
            out["clip_score"] = {version: fit.score() for version, fit in self.fits.items()}
            if self.fits[REAL].among > 1:
                precisions = {version: fit.precision() for version, fit in self.fits.items()}
                out["r_precision"] = precisions
                out["r_precision_among"] = self.fits[REAL].among
            out["clip"] = self.clip.label
        return out


def _groups(held_out: Iterable[HeldOut], size: int) -> Iterator[list[HeldOut]]:
    stream = iter(held_out)
    while group := list(islice(stream, size)):
        yield group

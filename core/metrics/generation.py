"""Judging what a prior draws, beside real pictures and the tokenizer's reconstructions of them.

Every figure that a judge gives is taken three times, on what was drawn, on the real pictures whose
conditions were given, and on their reconstructions: what the judge gets wrong itself, and what the
tokenizer loses, is not the prior's doing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..conditions import Condition, ConditionConfig, SemanticConfig, TextConfig
from ..conditions.from_samples import captions_of, condition_of, maps_of
from ..data.sample import Sample
from ..errors import DataError
from ..tokenizer import Tokenizer
from .caption_agreement import AnswerAgreement
from .comparison import as_shown
from .frechet import FrechetStatistics
from .segmentation import LayoutAgreement, agreement_of

if TYPE_CHECKING:
    from ..judges.attributes import AttributeClassifier
    from ..judges.segmenter import Segmenter
    from ..priors import Prior

DRAWN, REAL, RECONSTRUCTED = "drawn", "real", "reconstructed"
SHUFFLED = "real of other captions"


class Shown(NamedTuple):
    """A held-out picture, and, where it is known, what its caption names: question -> answer."""

    sample: Sample
    named: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Judges:
    """Who judges; what there is none of is left out.

    segmenter: reads layouts. classifier: finds what captions name. features: images (B, 3, H, W)
    to (B, F), for the Fréchet distance; label: what they are.
    """

    segmenter: Segmenter | None = None
    classifier: AttributeClassifier | None = None
    features: Callable[[Tensor], Tensor] | None = None
    label: str = ""


def judge_prior(
    prior: Prior,
    tokenizer: Tokenizer,
    held_out: Iterable[Shown],
    judges: Judges,
    *,
    sampling: Mapping[str, Any],
    told: Sequence[ConditionConfig] | None = None,
    seed: int = 0,
    batch: int = 16,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Draws a picture for each held-out one, told what that one shows, and judges them.

    Pictures must be squares of one size. ``sampling``: the settings of ``Prior.sample``. ``told``:
    those of the prior's conditions that it is told, without it all. Returns
    ``pictures``, ``sampling``, ``seed``, ``seconds_per_picture`` (drawing and decoding, in batches
    of ``batch``), ``bits_per_token`` (of a discrete prior; ``bits_with_map``, those of the map
    included, of one that draws its maps), and of what the judges can tell, by
    version: ``named_right`` (and of real pictures against other captions: what is right by chance),
    ``mean_iou``, ``pixel_accuracy``, ``frechet_distance`` (to the real ones, with ``features``).
    Raises DataError if there was no picture or a condition is missing.
    """
    noise = torch.Generator(tokenizer.device).manual_seed(seed)
    told = prior.config.conditions if told is None else told
    tables = _Tables(judges, told)
    seconds = bits = 0.0
    seen = 0
    for group in _groups(held_out, batch):
        samples = [shown.sample for shown in group]
        images = torch.stack([sample.image for sample in samples]).to(tokenizer.device)
        maps = maps_of(samples)
        labels = torch.tensor([sample.label for sample in samples])
        condition = condition_of(told, captions_of(samples), maps, labels)
        condition = None if condition is None else condition.to(tokenizer.device)
        begun = time.perf_counter()
        drawn = prior.generate(condition, len(group), generator=noise, **sampling)
        painted = tokenizer.decode(drawn)
        if images.is_cuda:
            torch.cuda.synchronize()
        seconds += time.perf_counter() - begun
        ids = tokenizer.encode(images)
        if not drawn.is_floating_point():
            measured, found = _bits(prior, ids, condition, maps, noise)
            bits += found * len(group)
        versions = {DRAWN: painted, REAL: images, RECONSTRUCTED: tokenizer.decode(ids)}
        for version, pictures in versions.items():
            tables.add(version, as_shown(pictures), maps, [shown.named for shown in group])
        seen += len(group)
        if progress is not None:
            progress(seen)
    if not seen:
        raise DataError("there was no picture to judge by; give a data set that has some.")
    figures: dict[str, Any] = {"pictures": seen, "sampling": dict(sampling), "seed": seed}
    figures["seconds_per_picture"] = seconds / seen
    if bits:
        figures[measured] = bits / seen
    return figures | tables.figures()


def _bits(
    prior: Prior,
    ids: Tensor,
    condition: Condition | None,
    maps: Tensor | None,
    noise: torch.Generator,
) -> tuple[str, float]:
    """Bits a token. Of a prior that draws the map itself, those of the picture's true map are among
    them: together they bound the tokens' own from above."""
    told = condition is not None and condition.segmentation is not None
    if not prior.draws_layout or told or maps is None:
        return "bits_per_token", float(prior.loss(ids, condition, noise)["bits"])
    condition = replace(condition or Condition(), segmentation=maps.to(ids.device))
    losses = prior.loss(ids, condition, noise)
    return "bits_with_map", float(losses["bits"] + losses["layout_bits"])


class _Tables:
    """Everything that the judges say of each version."""

    def __init__(self, judges: Judges, told: Iterable[ConditionConfig]) -> None:
        self.judges = judges
        kinds = {type(config) for config in told}
        # A judge is asked about what the prior was told, and about nothing else.
        self.layouts: dict[str, LayoutAgreement] | None = None
        if judges.segmenter is not None and SemanticConfig in kinds:
            self.layouts = {}
        self.answers: dict[str, AnswerAgreement] | None = None
        if judges.classifier is not None and TextConfig in kinds:
            self.answers = {}
        self.statistics: dict[str, FrechetStatistics] = {}

    @torch.no_grad()
    def add(
        self,
        version: str,
        images: Tensor,
        maps: Tensor | None,
        named: list[Mapping[str, int] | None],
    ) -> None:
        segmenter, classifier = self.judges.segmenter, self.judges.classifier
        if self.layouts is not None and maps is not None:
            if version not in self.layouts:
                self.layouts[version] = LayoutAgreement(segmenter.config.classes)
            self.layouts[version].update(*agreement_of(segmenter, images, maps))
        if self.answers is not None and all(each is not None for each in named):
            wanted = torch.stack([classifier.encode(each) for each in named])
            table = self.answers.setdefault(version, AnswerAgreement(classifier.names))
            answers = classifier.answer(images)
            table.update(answers, wanted)
            if version == REAL and len(wanted) > 1:  # what is right by chance
                table = self.answers.setdefault(SHUFFLED, AnswerAgreement(classifier.names))
                table.update(answers, wanted.roll(1, 0))
        if self.judges.features is not None:
            features = self.judges.features(images)
            if version not in self.statistics:
                self.statistics[version] = FrechetStatistics(features.shape[1])
            self.statistics[version].update(features)

    def figures(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self.answers:
            found = {version: table.figures() for version, table in self.answers.items()}
            out["named_right"] = {v: figures["recognised"] for v, figures in found.items()}
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
        if self.statistics and self.statistics[REAL].count > 1:
            real = self.statistics[REAL]
            out["frechet_distance"] = {
                version: real.distance(self.statistics[version])
                for version in (DRAWN, RECONSTRUCTED)
            }
            out["features"] = self.judges.label
        return out


def _groups(held_out: Iterable[Shown], size: int) -> Iterator[list[Shown]]:
    stream = iter(held_out)
    while group := list(islice(stream, size)):
        yield group

"""Training a judge of words on pictures with captions, on pretrained features."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..cli.common import pick_device
from ..cli.errors import UsageError
from .linear import LinearRun, described, fit, network, opened, recipe

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CaptionData:
    """Pictures with captions."""

    name: Literal["captions", "cub", "coco", "flickr8k"] = "captions"
    """The data set."""
    root: Path | None = None
    """Its folder."""
    stretch: bool = False
    """Stretch every picture to a square, as in training with --data.stretch."""


@dataclass(frozen=True)
class WordsRun(LinearRun):
    """A judge of words: tells whether a picture shows what its caption names, such as a color."""

    data: CaptionData = field(default_factory=CaptionData)
    words: tuple[str, ...] = ()
    """The words, in lower case, for example: red yellow blue. A picture counts as showing a word
    if any of its captions mentions it."""


def train_words(run: WordsRun) -> Path:
    """Train a judge, measure it on held-out pictures, and return its bundle's folder."""
    import torch

    from regvq.cards.judge import judge_card
    from regvq.data import Sample
    from regvq.judges.words import WordJudge, WordsConfig, mentioned

    if run.data.root is None:
        raise UsageError("a judge of words needs pictures: name their folder by --data.root")
    try:
        WordsConfig(run.words)  # before the work
    except ValueError as error:
        raise UsageError(f"--words: {error}") from None
    device = pick_device(run.device)
    train, test = opened(run.data, run.size, stretch=run.data.stretch)

    def shown(sample: Sample) -> list[bool] | None:
        found = mentioned(sample.captions, run.words)
        return [word in found for word in run.words] if sample.captions else None

    features = network(run, device)
    seen, truth = described(features, train, run.pool, run.size, "looking", shown)
    shares = truth.double().mean(0)
    for word, share in zip(run.words, shares.tolist(), strict=True):
        if not 0 < share < 1:
            every = "every" if share else "no"
            raise UsageError(f"{every} training picture's captions mention {word!r}: leave it out")
    config = WordsConfig(run.words, run.features.name, seen.shape[1], run.size)
    judge = WordJudge(config).to(device)
    fit(judge, seen, BalancedLoss(truth), run.penalty)
    judged, truth = described(features, test, run.judged, run.size, "measuring the judge", shown)
    with torch.no_grad():
        said = judge(judged) > 0
    found, absent = (float((said == truth)[truth == which].double().mean()) for which in (1, 0))
    scores = {"Words of captions found": found, "Other words not found": absent}
    stretched = " --data.stretch" if run.data.stretch else ""
    card = judge_card(
        run.out.name,
        data=run.data.name,
        command=f"words --data.name {run.data.name} --data.root DIR{stretched} "
        f"--words {' '.join(run.words)} --features.name {run.features.name}",
        purpose=f"it tells which of the words {', '.join(run.words)} fit a picture, by a linear "
        f"map of the features of {features.label}.",
        settings=vars(run),
        scores=scores,
        pictures=len(truth),
    )
    print(
        f"on {len(truth):,} held-out pictures it finds {found:.1%} of the words that captions "
        f"mention, and {1 - absent:.1%} of those that they do not"
    )
    judge.save_pretrained(
        run.out,
        data={"name": run.data.name, "words": list(run.words)},
        metrics={
            "pictures": len(truth), "found": found, "absent": absent,
            "by_word": _by_word(run.words, said, truth), "features": features.label,
        },
        card=card,
        recipe=recipe(run, "words"),
    )  # fmt: skip
    return run.out


class BalancedLoss:
    """The logistic loss of words (N, W), in which the pictures with a word weigh as much as those
    without it."""

    def __init__(self, truth: Tensor) -> None:
        share = truth.float().mean(0)
        self.truth = truth.float()
        self.weights = self.truth / (2 * share) + (1 - self.truth) / (2 * (1 - share))

    def __call__(self, logits: Tensor) -> Tensor:
        import torch.nn.functional as F

        return F.binary_cross_entropy_with_logits(logits, self.truth, self.weights)


def _by_word(words: tuple[str, ...], said: Tensor, truth: Tensor) -> dict[str, dict[str, float]]:
    """Return, for each word that some of the pictures mention, the shares that are found."""
    rows = {}
    for column, word in enumerate(words):
        has = truth[:, column] == 1
        if has.any() and not has.all():
            right = (said == truth)[:, column].double()
            rows[word] = {"found": float(right[has].mean()), "absent": float(right[~has].mean())}
    return rows

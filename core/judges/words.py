"""A linear judge of words, on pretrained features: does a picture show what its caption names?

It is trained on pictures with captions, and measures whether a picture that was drawn from a text
shows the things, or colors, that the text names. No paper has this judge: our choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.features import FeatureName, Features
from .attributes import UNKNOWN
from .linear import LinearJudge


@dataclass(frozen=True)
class WordsConfig:
    """The words, and the features on which they are told."""

    words: tuple[str, ...]
    """The words, in lower case."""
    features: FeatureName = "alexnet"
    """The network of the features."""
    width: int = 1
    """The number of features of a picture."""
    size: int = 128
    """Side of the square pictures in pixels; others are resized."""

    def __post_init__(self) -> None:
        if not self.words or len(set(self.words)) < len(self.words):
            raise ValueError(f"a judge of words needs different words, got {self.words}")
        if wrong := [word for word in self.words if not re.fullmatch(r"[^\W_]+", word)]:
            raise ValueError(f"words are of letters and digits alone, got {wrong[0]!r}")
        if wrong := [word for word in self.words if word != word.lower()]:
            raise ValueError(f"words are in lower case, got {wrong[0]!r}")


class WordJudge(LinearJudge):
    """Logits (B, W) of W words from the features (B, F) that ``describe`` returns.

    Above 0: the picture rather shows what the word names. Both kinds of mistakes weigh the same in
    training, so that a rare word is found as often as its absence.
    """

    kind = "words"
    config_class = WordsConfig

    def __init__(self, config: WordsConfig) -> None:
        super().__init__(config.features, config.width, config.size, len(config.words))
        self.config = config

    def on(self, features: Features) -> WordAnswers:
        """Return the judge's answers to pictures, with the network that its features are of."""
        return WordAnswers(self, features)


class WordAnswers:
    """Yes (1) or no (0) for each of ``names``, the words, as the evaluation of priors asks."""

    def __init__(self, judge: WordJudge, features: Features) -> None:
        self.judge, self.net = judge, features
        self.names = judge.config.words

    def answer(self, images: Tensor) -> Tensor:
        """Return int64 (B, W) for images (B, 3, H, W) in [-1, 1]: 1 where a word is shown.

        Raises ValueError for features of another network than that of the judge.
        """
        return (self.judge.logits(self.net, images) > 0).long()

    def encode(self, answers: Mapping[str, int]) -> Tensor:
        """Return answers by word as int64 (W,), -1 for words without one."""
        return torch.tensor([answers.get(name, UNKNOWN) for name in self.names])


def mentioned(captions: Iterable[str], words: Sequence[str]) -> dict[str, int]:
    """Return 1 for each of the words that any of the captions mentions, whatever its case."""
    said = {word for caption in captions for word in re.findall(r"[^\W_]+", caption.lower())}
    return {word: 1 for word in words if word in said}

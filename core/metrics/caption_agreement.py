"""The agreement of a drawn landscape with its caption, judged by a trained classifier.

Captions of `scenes` name an hour, a weather, visible things, their number, side and color.
``named_attributes`` returns those that the caption of an item names; a classifier trained on drawn
scenes (`python train/judge.py attributes`) looks for them in a picture generated from that caption:

    judge = load_judge("runs/scenes-attributes", AttributeClassifier)      # core.judges
    scenes = Scenes(split="test", length=5000)
    named = [named_attributes(scenes, i) for i in indices]    # {"hour": "dusk", "red house": "yes"}
    figures = caption_agreement(judge, images, named)         # images (B, 3, H, W) in [-1, 1]
    figures["recognised"], figures["all_recognised"], figures["questions"]["hour"]

The classifier errs too: its own share on the true pictures of held-out captions, in its bundle's
metrics.json under ``named``, is an upper bound; that of true pictures with all other captions
(``AnswerAgreement.by_chance``) is the level of chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..judges.attributes import UNKNOWN, AttributeClassifier

if TYPE_CHECKING:
    from ..data.scenes import Scenes


class AnswerAgreement:
    """Counts of right answers per question, gathered batch by batch."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._asked = torch.zeros(len(self.names), dtype=torch.int64)
        self._right = torch.zeros(len(self.names), dtype=torch.int64)
        self._pictures = self._whole = 0
        self._answers: list[tuple[Tensor, Tensor]] = []  # all given and wanted, for by_chance

    @property
    def asked(self) -> int:
        """The number of answers that were asked so far."""
        return int(self._asked.sum())

    def update(self, given: Tensor, wanted: Tensor) -> None:
        """Add answers ``given`` and ``wanted``, int64 (B, Q); -1 in wanted: not asked.

        Raises ValueError if the shapes differ.
        """
        if given.shape != wanted.shape or given.shape[-1] != len(self.names):
            raise ValueError(
                f"answers must be (B, {len(self.names)}), got {tuple(given.shape)} and "
                f"{tuple(wanted.shape)}"
            )
        given, wanted = given.cpu(), wanted.cpu()
        asked = wanted != UNKNOWN
        right = asked & (given == wanted)
        self._asked += asked.sum(0)
        self._right += right.sum(0)
        asking = asked.any(1)
        self._pictures += int(asking.sum())
        self._whole += int(((right == asked).all(1) & asking).sum())
        self._answers.append((given, wanted))

    def by_chance(self) -> float | None:
        """Return the share of right answers if each picture is asked with all captions but its own.

        This is the level of chance, whatever the order of the pictures. None: no caption of another
        picture asks anything.
        """
        if not self.asked:
            return None
        given, wanted = (torch.cat(each) for each in zip(*self._answers, strict=True))
        answers = torch.arange(int(torch.maximum(given, wanted).max()) + 1)
        named, found = ((each[..., None] == answers).sum(0) for each in (wanted, given))  # (Q, A)
        pairs = self.asked * (len(given) - 1)
        return int((named * found).sum() - self._right.sum()) / pairs if pairs else None

    def figures(self) -> dict[str, Any]:
        """Return the shares of right answers, over all questions and per question.

        ``recognised``: share of right answers over all that were asked; ``all_recognised``: share
        of pictures with every answer right; ``asked``; ``pictures``; ``questions``: for each one
        asked, its share of right answers and how often it was asked. Raises ValueError if nothing
        was asked.
        """
        asked = self.asked
        if not asked:
            raise ValueError("no question was asked of any picture")
        return {
            "recognised": int(self._right.sum()) / asked,
            "all_recognised": self._whole / self._pictures,
            "asked": asked,
            "pictures": self._pictures,
            "questions": {
                name: {"recognised": int(right) / int(times), "asked": int(times)}
                for name, right, times in zip(self.names, self._right, self._asked, strict=True)
                if times
            },
        }


def named_attributes(scenes: Scenes, index: int) -> dict[str, str]:
    """Return the answers that the caption of scene ``index`` gives, as words: question -> answer.

    For example ``{"hour": "dusk", "how many: house": "2", "red house": "yes"}``; the questions are
    those of `core.data.scenes.QUESTIONS`.
    """
    from ..data.scenes import QUESTIONS, named_in

    named = named_in(scenes.attributes(index))
    return {question: QUESTIONS[question][answer] for question, answer in named.items()}


def caption_agreement(
    classifier: AttributeClassifier,
    images: Tensor,
    named: Sequence[Mapping[str, str]],
    batch: int = 64,
) -> dict[str, Any]:
    """Return the share of named attributes that ``classifier`` recognizes in the pictures.

    images: (B, 3, H, W) in [-1, 1], square. named: for each picture, the result of
    ``named_attributes``. Returns the figures of ``AnswerAgreement``. Raises ValueError if the
    numbers of ``named`` and images differ, or for a question or an answer that the classifier does
    not know.
    """
    if len(images) != len(named):
        raise ValueError(f"{len(named)} captions do not match {len(images)} images")
    gathered = AnswerAgreement(classifier.names)
    possible = dict(classifier.config.questions)
    for start in range(0, len(images), batch):
        wanted = [
            classifier.encode({q: _index(possible, q, a) for q, a in attributes.items()})
            for attributes in named[start : start + batch]
        ]
        gathered.update(classifier.answer(images[start : start + batch]), torch.stack(wanted))
    return gathered.figures()


def _index(possible: Mapping[str, tuple[str, ...]], question: str, answer: str) -> int:
    if answer not in possible.get(question, ()):
        raise ValueError(f"this classifier does not know the answer {answer!r} to {question!r}")
    return possible[question].index(answer)

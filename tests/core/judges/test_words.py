"""The judge of words: what captions mention, its fit, its answers, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.judges import load_judge
from core.judges.linear import describe
from core.judges.words import WordJudge, WordsConfig, mentioned
from tests.core.judges.test_labels import Maps
from train.judges.linear import fit
from train.judges.words import BalancedLoss

WORDS = ("red", "green", "blue")


def pictures(shown: Tensor) -> Tensor:
    """Return noisy pictures with those of the three colors that they show, bool (N, 3)."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(len(shown), 3, 16, 16, generator=draw) * 0.3
    return ((2.0 * shown - 1)[:, :, None, None] * 0.8 + noise).clamp(-1, 1)


def combinations(count: int) -> Tensor:
    """Return all eight combinations of the three words in turn, bool (count, 3)."""
    numbers = torch.arange(count) % 8
    return torch.stack([numbers >> bit & 1 for bit in range(3)], 1).bool()


def fitted(shown: Tensor) -> WordJudge:
    judge = WordJudge(WordsConfig(WORDS, "alexnet", 12, 16))
    return fit(judge, describe(Maps(), pictures(shown)), BalancedLoss(shown), 1e-3)


def test_words_are_mentioned_as_words() -> None:
    captions = ("A Red bird, looking left.", "blue-eyed; a reddish greenfinch")
    assert mentioned(captions, WORDS) == {"red": 1, "blue": 1}
    assert mentioned(captions[1:], WORDS) == {"blue": 1}
    assert mentioned((), WORDS) == {}


def test_a_fitted_judge_answers_each_word_and_is_read_back(tmp_path: Path) -> None:
    judge = fitted(combinations(64))
    shown = combinations(8)
    answers = judge.on(Maps())
    assert answers.names == WORDS
    assert torch.equal(answers.answer(pictures(shown)), shown.long())
    larger = torch.nn.functional.interpolate(pictures(shown), 40)
    assert torch.equal(answers.answer(larger), shown.long())
    judge.save_pretrained(tmp_path / "judge", data={"name": "x"}, metrics={}, card="")
    read = load_judge(tmp_path / "judge", WordJudge)
    assert read.config == judge.config
    assert torch.equal(read.on(Maps()).answer(pictures(shown)), shown.long())


def test_answers_that_were_not_asked_are_minus_one() -> None:
    answers = WordJudge(WordsConfig(WORDS, "alexnet", 12, 16)).on(Maps())
    assert answers.encode({"blue": 1}).tolist() == [-1, -1, 1]
    assert answers.encode({}).tolist() == [-1, -1, -1]


def test_a_rare_word_weighs_as_much_as_its_absence() -> None:
    """Of useless features, nothing is learned but the share of each word, which must not count."""
    shown = torch.zeros(40, 3, dtype=torch.bool)
    shown[:4, 0] = shown[:20, 1] = shown[:36, 2] = True
    judge = WordJudge(WordsConfig(WORDS, "alexnet", 12, 16))
    fit(judge, torch.zeros(40, 12), BalancedLoss(shown), 1e-3)
    assert judge.head.bias.abs().max() < 1e-3
    loss = BalancedLoss(shown)
    assert float(loss(torch.zeros(40, 3))) == pytest.approx(torch.tensor(2.0).log().item())
    wrong = torch.where(shown, 0.0, 1.0)  # only pictures without a word are judged worse
    columns = [float(BalancedLoss(shown[:, [k]])(wrong[:, [k]])) for k in range(3)]
    assert columns == pytest.approx([columns[0]] * 3)


def test_what_is_refused() -> None:
    judge = WordJudge(WordsConfig(WORDS, "vgg16", 12, 16))
    with pytest.raises(ValueError, match="trained on vgg16 features, not on alexnet"):
        judge.on(Maps()).answer(pictures(combinations(2)))
    for words, said in (
        ((), "different words"),
        (("red", "red"), "different words"),
        (("Red",), "in lower case, got 'Red'"),
        (("dark red",), "letters and digits alone, got 'dark red'"),
    ):
        with pytest.raises(ValueError, match=said):
            WordsConfig(words)

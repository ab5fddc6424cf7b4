"""Caption agreement, counted by hand, with a classifier whose answers are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.data.scenes import QUESTIONS, Scenes
from core.judges.attributes import AttributeClassifier, AttributesConfig
from core.metrics.caption_agreement import AnswerAgreement, caption_agreement, named_attributes

ASKED = (("hour", ("dawn", "noon", "dusk")), ("house", ("no", "yes")), ("sea", ("no", "yes")))


class Constant(AttributeClassifier):
    """A classifier that answers noon, a house, and sea if a picture is blue."""

    def answer(self, images: Tensor) -> Tensor:
        sea = (images[:, 2].mean((1, 2)) > 0).long()
        return torch.stack([torch.ones_like(sea), torch.ones_like(sea), sea], dim=1)


def constant() -> Constant:
    return Constant(AttributesConfig(ASKED, ("sky", "sea"), 32, (8, 8, 8), hidden=8))


def test_shares_are_counted_over_what_is_named() -> None:
    blue = torch.tensor([-1.0, -1.0, 1.0]).view(3, 1, 1).expand(3, 32, 32)
    images = torch.stack([blue, blue, -blue])
    named = [
        {"hour": "noon", "sea": "yes"},  # both
        {"hour": "dusk", "house": "yes", "sea": "yes"},  # two of three
        {"sea": "yes"},  # none
    ]
    figures = caption_agreement(constant(), images, named, batch=2)
    assert figures["asked"] == 6 and figures["pictures"] == 3
    assert figures["recognised"] == pytest.approx(4 / 6)
    assert figures["all_recognised"] == pytest.approx(1 / 3)
    assert figures["questions"] == {
        "hour": {"recognised": pytest.approx(1 / 2), "asked": 2},
        "house": {"recognised": 1.0, "asked": 1},
        "sea": {"recognised": pytest.approx(2 / 3), "asked": 3},
    }


def test_unknown_questions_answers_and_wrong_numbers_of_captions_are_refused() -> None:
    image = torch.zeros(1, 3, 32, 32)
    for named in ({"tide": "high"}, {"hour": "tea time"}):
        with pytest.raises(ValueError, match="does not know the answer"):
            caption_agreement(constant(), image, [named])
    with pytest.raises(ValueError, match="2 captions"):
        caption_agreement(constant(), image, [{}, {}])
    with pytest.raises(ValueError, match="no question"):
        caption_agreement(constant(), image, [{}])
    with pytest.raises(ValueError, match=r"\(B, 3\)"):
        AnswerAgreement("abc").update(torch.zeros(1, 2).long(), torch.zeros(1, 2).long())


def test_named_attributes_are_those_of_the_caption() -> None:
    scenes = Scenes(split="test", length=100)
    named = named_attributes(scenes, 2)
    assert scenes[2].caption.startswith("at midday in autumn, an autumn meadow")
    assert named["hour"] == "noon" and named["season"] == "autumn"
    assert named["how many: conifer"] == "4" and named["snowcap"] == "yes"
    assert all(answer in QUESTIONS[question] for question, answer in named.items())


def test_answers_and_losses_of_the_classifier_equal_their_definitions() -> None:
    torch.manual_seed(0)
    config = AttributesConfig(ASKED, ("sky", "sea", "sun", "house"), 32, (8, 8, 8), hidden=8)
    classifier = AttributeClassifier(config).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits, read = classifier.answers_and_map(images)
    assert logits.shape == (2, 7) and read.shape == (2, 4, 32, 32)
    with torch.no_grad():
        assert torch.allclose(read, classifier.reader(images), atol=1e-5)
    given = classifier.answer(images)
    assert given[:, 0].tolist() == logits[:, :3].argmax(1).tolist()
    assert given[:, 2].tolist() == logits[:, 5:].argmax(1).tolist()
    wanted = torch.tensor([[2, -1, 0], [-1, -1, 1]])
    spread = [logits[0, :3].log_softmax(0)[2], logits[0, 5:].log_softmax(0)[0]]
    spread.append(logits[1, 5:].log_softmax(0)[1])
    assert float(classifier.loss(logits, wanted)) == pytest.approx(-float(sum(spread)) / 2)
    assert classifier.answer(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    with pytest.raises(ValueError, match="32x32"):
        classifier(torch.zeros(1, 3, 64, 64))
    assert classifier.encode({"sea": 1}).tolist() == [-1, -1, 1]
    with pytest.raises(ValueError, match="'tide'"):
        classifier.encode({"tide": 1})

"""Judging a prior's pictures: perfect ones, wrong ones, and the versions for comparison."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.conditions import Condition, LabelConfig, SemanticConfig, TextConfig
from core.data import Sample
from core.errors import DataError
from core.judges.attributes import AttributeClassifier, AttributesConfig
from core.judges.segmenter import Segmenter, SegmenterConfig
from core.metrics import generation
from core.metrics.clip import Clip
from core.metrics.frechet import FrechetStatistics
from core.metrics.generation import HeldOut, Judges, judge_prior

SIZE = 8


class Copies:
    """A lossless tokenizer: a token is a pixel, red from -1 to 1 in three levels."""

    device = torch.device("cpu")

    def encode(self, images: Tensor) -> Tensor:
        return (images[:, 0] + 1).round().long()

    def decode(self, ids: Tensor) -> Tensor:
        return (ids[:, None] - 1.0).expand(-1, 3, -1, -1).clone()

    def visible(self, images: Tensor) -> Tensor:
        return images


class Drawer:
    """A prior that draws its semantic map, or its opposite; it notes the arguments of each call."""

    draws_layout = False

    def __init__(self, opposite: bool = False, conditions: tuple = ()) -> None:
        self.config = SimpleNamespace(conditions=conditions)
        self.opposite, self.asked = opposite, []

    def generate(self, condition: Condition, n: int, *, generator, **how) -> Tensor:
        self.asked.append((condition, n, how))
        return 2 - condition.segmentation if self.opposite else condition.segmentation

    def loss(self, ids: Tensor, condition: Condition, generator: object) -> dict[str, Tensor]:
        return {"nll": torch.zeros(()), "bits": ids.float().mean()}


class Reads(Segmenter):
    """A segmenter for which the class of a pixel is its token."""

    def segment(self, images: Tensor) -> Tensor:
        return (images[:, 0] + 1).round().long()


class Sees(AttributeClassifier):
    """A classifier that answers dusk if the first pixel is dark."""

    def answer(self, images: Tensor) -> Tensor:
        return (images[:, 0, 0, 0] < 0).long()[:, None]


def judges() -> Judges:
    return Judges(
        Reads(SegmenterConfig(("sea", "land", "sky"), size=SIZE, widths=(8, 8))),
        Sees(AttributesConfig((("hour", ("noon", "dusk")),), ("sky",), 32, (8, 8, 8), hidden=8)),
        lambda images: images[:, 0, :2, :2].flatten(1),
        "four pixels",
    )


def scenes(count: int = 6) -> list[HeldOut]:
    maps = torch.randint(0, 3, (count, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    return [
        HeldOut(
            Sample(Copies().decode(ids[None])[0], "a sea", segmentation=ids),
            {"hour": int(ids[0, 0] == 0)},
        )
        for ids in maps
    ]


BOTH = (TextConfig(), SemanticConfig(classes=3))


def named_hour(held_out: HeldOut) -> int | None:
    return (held_out.named or {}).get("hour")


def chance(asked: list[int | None], answers: list[int] | None = None) -> float:
    """The share of right answers over all pairs of a picture and the caption of another."""
    answers = [int(hour) for hour in asked if hour is not None] if answers is None else answers
    pairs = [
        answer == hour
        for (i, answer), (j, hour) in product(enumerate(answers), enumerate(asked))
        if i != j and hour is not None
    ]
    return sum(pairs) / len(pairs)


def test_perfect_pictures_are_as_good_as_real_ones() -> None:
    prior = Drawer(conditions=BOTH)
    held_out = scenes()
    figures = judge_prior(
        prior, Copies(), held_out, judges(), sampling={"guidance": 2.0}, seed=3, batch=4
    )
    same = {"drawn": 1.0, "real": 1.0, "reconstructed": 1.0}
    assert figures["mean_iou"] == figures["pixel_accuracy"] == same
    by_chance = figures["named_right"].pop("real of other captions")
    assert figures["named_right"] == same
    assert by_chance == pytest.approx(chance([named_hour(each) for each in held_out]))
    assert figures["frechet_distance"] == pytest.approx({"drawn": 0, "reconstructed": 0}, abs=1e-6)
    assert figures["features"] == "four pixels"
    assert figures["pictures"] == 6 and figures["named_asked"] == 6
    assert figures["sampling"] == {"guidance": 2.0} and figures["seed"] == 3
    tokens = torch.stack([each.sample.segmentation for each in held_out])
    assert figures["bits_per_token"] == pytest.approx(float(tokens.float().mean()))
    assert figures["seconds_per_picture"] > 0
    assert [n for _, n, _ in prior.asked] == [4, 2]
    assert all(how == {"guidance": 2.0} for _, _, how in prior.asked)
    assert prior.asked[1][0].texts == ("a sea", "a sea")


@pytest.mark.parametrize("key", ["fid", "inception_fd"])
def test_fid_is_measured_beside_other_distances_under_its_own_key(key: str) -> None:
    class Features:
        label = "Inception v3 (a stand-in)"

        def __init__(self) -> None:
            self.key = key  # "fid" only on the published weights

        def __call__(self, images: Tensor) -> Tensor:
            return images[:, 0, :2, :2].flatten(1)

    drawer = Drawer(opposite=True, conditions=BOTH)
    both = replace(judges(), inception=Features())
    figures = judge_prior(drawer, Copies(), scenes(), both, sampling={}, batch=4)
    assert figures[key] == figures["frechet_distance"] and figures[key]["drawn"] > 0.01
    assert figures["features"] == "four pixels"
    assert figures["features_of"] == {key: "Inception v3 (a stand-in)"}
    alone = judge_prior(drawer, Copies(), scenes(), Judges(inception=Features()), sampling={})
    assert alone[key] == pytest.approx(figures[key], rel=1e-6, abs=1e-9)
    assert "frechet_distance" not in alone and "features" not in alone


def test_wrong_pictures_are_counted_as_wrong() -> None:
    held_out = scenes()
    figures = judge_prior(
        Drawer(opposite=True, conditions=BOTH), Copies(), held_out, judges(), sampling={}, batch=6
    )
    ids = torch.stack([each.sample.segmentation for each in held_out])
    same = float((2 - ids == ids).float().mean())
    assert figures["pixel_accuracy"]["drawn"] == pytest.approx(same)
    first = ids[:, 0, 0]
    right = ((2 - first == 0) == (first == 0)).float().mean()
    assert figures["named_right"]["drawn"] == pytest.approx(float(right))
    assert figures["named_right"]["real"] == figures["mean_iou"]["real"] == 1
    sets = []
    for tokens in (ids, 2 - ids):
        sets.append(FrechetStatistics(4))
        sets[-1].update((tokens[:, :2, :2] - 1.0).flatten(1))
    expected = sets[0].distance(sets[1])
    # in 8 bits, zero is not exactly zero
    assert figures["frechet_distance"]["drawn"] == pytest.approx(expected, rel=1e-3)
    assert expected > 0.01 and figures["frechet_distance"]["reconstructed"] < 1e-6


def test_judges_are_used_only_for_the_conditions_of_the_prior() -> None:
    figures = judge_prior(
        Drawer(conditions=(SemanticConfig(classes=3),)), Copies(), scenes(), judges(), sampling={}
    )
    assert "named_right" not in figures and figures["mean_iou"]["drawn"] == 1
    nobody = judge_prior(Drawer(conditions=BOTH), Copies(), scenes(), Judges(), sampling={})
    assert set(nobody) == {
        "pictures",
        "sampling",
        "seed",
        "seconds_per_picture",
        "bits_per_token",
    }


class Planner(Drawer):
    """A prior that draws its own map, all zeros, if no map is given."""

    draws_layout = True

    def generate(self, condition: Condition, n: int, **how) -> Tensor:
        assert condition.segmentation is None
        return torch.zeros(n, SIZE, SIZE, dtype=torch.int64)

    def loss(self, ids: Tensor, condition: Condition, generator: object) -> dict[str, Tensor]:
        if condition.segmentation is None:
            return {"bits": torch.tensor(2.0)}
        assert torch.equal(condition.segmentation, ids) and len(condition.texts) == len(ids)
        return {"bits": ids.float().mean(), "layout_bits": torch.tensor(0.5)}


def test_bits_of_a_prior_that_draws_maps_include_those_of_the_maps() -> None:
    held_out = scenes()
    figures = judge_prior(
        Planner(conditions=BOTH), Copies(), held_out, judges(), sampling={}, conditions=BOTH[:1]
    )
    tokens = torch.stack([each.sample.segmentation for each in held_out]).float()
    assert figures["bits_with_map"] == pytest.approx(float(tokens.mean()) + 0.5)
    assert "bits_per_token" not in figures
    bare = [each._replace(sample=replace(each.sample, segmentation=None)) for each in held_out]
    figures = judge_prior(
        Planner(conditions=BOTH), Copies(), bare, Judges(), sampling={}, conditions=BOTH[:1]
    )
    assert figures["bits_per_token"] == 2 and "bits_with_map" not in figures


def test_no_pictures_and_missing_conditions_are_refused() -> None:
    with pytest.raises(DataError, match="no picture"):
        judge_prior(Drawer(), Copies(), [], judges(), sampling={})
    bare = [HeldOut(Sample(torch.zeros(3, SIZE, SIZE)))]
    with pytest.raises(DataError, match="no captions"):
        judge_prior(Drawer(conditions=BOTH), Copies(), bare, judges(), sampling={})


class Somebody(Drawer):
    """A prior that draws its own map and is given one."""

    draws_layout = True

    def loss(self, ids: Tensor, condition: Condition, generator: object) -> dict[str, Tensor]:
        assert condition.segmentation is not None
        return {"bits": torch.tensor(3.0), "layout_bits": torch.tensor(0.5)}


def test_bits_of_a_given_map_are_not_counted() -> None:
    figures = judge_prior(Somebody(conditions=BOTH), Copies(), scenes(), Judges(), sampling={})
    assert figures["bits_per_token"] == 3 and "bits_with_map" not in figures


def test_bits_with_and_without_maps_are_separate_figures() -> None:
    """Of a data set with maps of some pictures, whatever their order and their batches."""

    class Other(Somebody):
        def generate(self, condition: Any, n: int, **how: object) -> Tensor:
            return torch.zeros(n, SIZE, SIZE, dtype=torch.int64)

        def loss(self, ids: Tensor, condition: Condition, generator: object) -> dict[str, Tensor]:
            if condition is None or condition.segmentation is None:
                return {"bits": torch.tensor(7.0)}
            return super().loss(ids, condition, generator)

    bare = [replace(each.sample, segmentation=None) for each in scenes()]
    mixed = [
        each._replace(sample=bare[k]) if k in (0, 4) else each for k, each in enumerate(scenes())
    ]
    for held_out in (mixed, mixed[::-1]):
        figures = judge_prior(
            Other(conditions=BOTH), Copies(), held_out, Judges(), sampling={}, batch=1,
            conditions=(TextConfig(),),
        )  # fmt: skip
        assert figures["bits_per_token"] == 7 and figures["bits_with_map"] == 3.5


def test_the_level_of_chance_is_that_of_real_pictures() -> None:
    held_out = scenes()
    by_chance = pytest.approx(chance([named_hour(each) for each in held_out]))
    # In order, neighbors are alike; neither their order nor the batches count.
    ordered = sorted(held_out, key=lambda each: str(each.named))
    for pictures, batch in ((held_out, 6), (ordered, 6), (held_out, 1), (ordered, 4)):
        prior = Drawer(opposite=True, conditions=BOTH)
        figures = judge_prior(prior, Copies(), pictures, judges(), sampling={}, batch=batch)
        assert figures["named_right"]["real of other captions"] == by_chance
    alone = judge_prior(Drawer(conditions=BOTH), Copies(), held_out[:1], judges(), sampling={})
    assert set(alone["named_right"]) == {"drawn", "real", "reconstructed"}


def test_questions_that_a_caption_does_not_answer_are_not_asked() -> None:
    """Half of the captions name no hour: they count neither as right nor as wrong."""
    held_out = [
        each if index % 2 else each._replace(named={}) for index, each in enumerate(scenes())
    ]
    figures = judge_prior(
        Drawer(opposite=True, conditions=BOTH), Copies(), held_out, judges(), sampling={}, batch=6
    )
    first = torch.stack([each.sample.segmentation[0, 0] for each in held_out])[1::2]
    right = ((2 - first == 0) == (first == 0)).float().mean()
    assert figures["named_asked"] == 3
    dusk = [int(each.sample.segmentation[0, 0] == 0) for each in scenes()]
    by_chance = chance([named_hour(each) for each in held_out], dusk)
    assert figures["named_right"]["real of other captions"] == pytest.approx(by_chance)
    assert figures["named_right"]["drawn"] == pytest.approx(float(right))
    assert figures["named_right"]["real"] == 1


class Fits(Clip):
    """A model for which a picture and a caption fit if the first pixel is the caption's number."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(1, 1), lambda x: x, lambda x: x, "numbers")

    def embed_images(self, images: Tensor, batch: int = 32) -> Tensor:
        return torch.eye(3)[(images[:, 0, 0, 0] + 1).round().long()]

    def embed_captions(self, captions: list[str], batch: int = 128) -> Tensor:
        return torch.eye(3)[[int(text[-1]) for text in captions]]


def numbered(count: int) -> list[HeldOut]:
    """Return scenes whose first pixel is their caption's number."""
    made = []
    for index, each in enumerate(scenes(count)):
        ids = each.sample.segmentation.clone()
        ids[0, 0] = index % 3
        sample = replace(each.sample, image=Copies().decode(ids[None])[0], segmentation=ids)
        made.append(each._replace(sample=replace(sample, caption=f"number {index % 3}")))
    return made


@pytest.mark.parametrize("count", [1, 2, 6])
def test_captions_are_ranked_and_sets_are_compared_from_two_on(count: int) -> None:
    figures = judge_prior(
        Drawer(opposite=True, conditions=BOTH), Copies(), numbered(count),
        replace(judges(), clip=Fits()), sampling={}, batch=4,
    )  # fmt: skip
    first = [index % 3 for index in range(count)]
    right = sum(2 - each == each for each in first) / count
    assert figures["clip_score"] == pytest.approx(
        {"drawn": 100 * right, "real": 100.0, "reconstructed": 100.0}
    )
    assert ("frechet_distance" in figures) == (count > 1)
    assert ("r_precision" in figures) == (count > 1)
    if count > 1:
        assert figures["r_precision"]["real"] == 1
        assert figures["r_precision"]["drawn"] == pytest.approx(right)
        assert figures["r_precision_among"] == min(count, 3)
    assert figures["clip"] == "numbers"


class OfClasses(Drawer):
    """A prior whose pictures are of the class that was asked for, or always of class 1."""

    def generate(self, condition: Condition, n: int, *, generator, **how) -> Tensor:
        labels = torch.ones_like(condition.labels) if self.opposite else condition.labels
        return labels[:, None, None].expand(-1, SIZE, SIZE)


@pytest.mark.parametrize(("opposite", "drawn"), [(False, 1.0), (True, 1 / 3)])
def test_pictures_are_taken_for_their_class_or_not(opposite: bool, drawn: float) -> None:
    """Pictures without a label do not count."""
    of_class = [0, 1, 2, 2, 1, 0, 0]
    held_out = [
        HeldOut(Sample(Copies().decode(torch.full((1, SIZE, SIZE), of))[0], label=label))
        for of, label in zip(of_class, [0, 1, 2, 0, 1, 2, -1], strict=True)
    ]
    judge = Judges(labels=lambda images: (images[:, 0, 0, 0] + 1).round().long())
    prior = OfClasses(opposite, (LabelConfig(classes=3),))
    found = judge_prior(prior, Copies(), held_out, judge, sampling={}, batch=3)
    real = 4 / 6  # two are labeled wrong
    assert found["class_accuracy"] == pytest.approx(
        {"drawn": drawn, "real": real, "reconstructed": real}
    )
    other = Drawer(conditions=(SemanticConfig(classes=3),))
    assert "class_accuracy" not in judge_prior(other, Copies(), scenes(), judge, sampling={})


def test_seconds_are_those_between_the_request_and_the_pictures(monkeypatch) -> None:
    ticks = iter([5.0, 5.75, 20.0, 21.25])  # before and after each of two batches
    monkeypatch.setattr(generation, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    prior = Drawer(conditions=BOTH)
    figures = judge_prior(prior, Copies(), scenes(), judges(), sampling={}, batch=4)
    assert figures["seconds_per_picture"] == pytest.approx((0.75 + 1.25) / 6)

"""The answers that captions of scenes give, compared with the facts of the scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.data.scenes import CLASS_INDEX, QUESTIONS, Scenes, answers, named_in


def words(named: dict[str, int]) -> dict[str, str]:
    return {question: QUESTIONS[question][answer] for question, answer in named.items()}


def facts(**changes: Any) -> dict[str, Any]:
    plain = {
        "hour": "noon", "weather": "clear", "season": "summer", "stars": False, "moon": None,
        "flowers": None, "areas": {}, "counts": {}, "things": [], "named": {}, "caption": "",
    }  # fmt: skip
    return plain | changes


def test_captions_are_true_of_their_scenes() -> None:
    scenes = Scenes(split="test", length=5000, seed=3)
    asked = 0
    for index in range(120):
        sample, attributes = scenes.item_and_attributes(index)
        assert sample.caption == attributes["caption"]
        true = answers(attributes, sample.segmentation.numpy())
        named = named_in(attributes)
        assert named.items() <= true.items(), attributes["caption"]
        asked += len(named)
        assert set(attributes["named"]) - {"cloud"} <= set(named)
    assert asked > 120 * 4


CAPTIONS = {
    "a red house and a white one at dusk in winter, under the stars": {
        "red house": "yes", "white house": "yes", "season": "winter", "stars": "yes",
        "weather": "clear",
    },
    "two orange trees and a fir on the left in thick fog": {
        "orange tree": "yes", "conifer left": "yes", "weather": "fog",
    },
    "a sailboat in the middle and a boulder on the right, a round moon, under rain clouds": {
        "boat centre": "yes", "rock right": "yes", "full moon": "yes", "weather": "rain",
    },
    "three snowy spruces and blossoming trees, pink flowers in bloom": {
        "season": "winter", "pink tree": "yes", "pink flowers": "yes",
    },
    "an autumn meadow, bare trees, a thin moon, in a snowfall": {
        "season": "autumn", "bare tree": "yes", "crescent moon": "yes", "weather": "snowfall",
    },
}  # fmt: skip


@pytest.mark.parametrize("caption", CAPTIONS)
def test_words_are_interpreted_correctly(caption: str) -> None:
    named = words(named_in(facts(caption=caption, hour="dusk")))
    assert named == {"hour": "dusk", **CAPTIONS[caption]}


def test_classes_and_numbers_are_those_noted_by_the_writer() -> None:
    noted = {"house": 7, "bird": 3, "lake": 0, "cloud": 0}
    named = words(named_in(facts(named=noted, caption="several houses by a lake")))
    assert named == {
        "hour": "noon",
        "house": "yes",
        "bird": "yes",
        "lake": "yes",
        "how many: house": "5 or more",
        "how many: bird": "2 or more",
    }
    gray = named_in(facts(named=noted, weather="overcast", caption="under an overcast sky"))
    cloudy = named_in(facts(named=noted, weather="cloudy", caption="under a cloudy sky"))
    assert "cloud" not in gray and cloudy["cloud"] == 1


def test_invisible_things_have_no_answer() -> None:
    nothing = np.full((64, 64), CLASS_INDEX["sky"])
    faint = nothing.copy()
    faint[0, :3] = CLASS_INDEX["house"]
    true = answers(facts(), nothing)
    assert true["house"] == 0 and true["how many: house"] == 0 and true["house left"] == 0
    assert true["red house"] == 0
    left_out = set(true) - set(answers(facts(), faint))
    assert {"house", "how many: house", "house left", "red house"} <= left_out
    assert not {question for question in left_out if "house" not in question}


def test_colors_are_asked_only_in_daylight_without_fog() -> None:
    house = {"kind": "house", "colour": "red", "side": "left", "area": 0.02}
    shown = {"areas": {"house": 0.02}, "counts": {"house": 1}, "things": [house]}
    ground = np.full((64, 64), CLASS_INDEX["grass"])
    ground[:10, :10] = CLASS_INDEX["house"]
    day = words(answers(facts(**shown), ground))
    assert day["red house"] == "yes" and day["white house"] == "no" and day["house left"] == "yes"
    assert day["house right"] == "no" and day["how many: house"] == "1"
    for dim in ({"hour": "night"}, {"weather": "fog"}):
        assert "red house" not in answers(facts(**shown, **dim), ground)

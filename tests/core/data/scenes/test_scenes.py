"""core.data.scenes: the same picture everywhere, a matching map, true captions."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from core.data import Sample, open_dataset
from core.data.scenes import (
    CLASS_INDEX,
    CLASSES,
    HOURS,
    LANDS,
    MIN_AREA,
    PALETTE,
    SEASONS,
    WEATHERS,
    Scenes,
)
from core.data.scenes.composition import compose
from core.errors import DataError
from core.paths import ROOT

COUNT = 220
NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "several": 5}


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Sample, dict]]:
    """Return the first scenes of seed 0 at 64 px with their attributes."""
    scenes = Scenes(size=64)
    return [(scenes[i], scenes.attributes(i)) for i in range(COUNT)]


def shares(sample: Sample) -> np.ndarray:
    """Return (C,): the share of the map that each class covers."""
    labels = sample.segmentation.numpy().ravel()
    return np.bincount(labels, minlength=len(CLASSES)) / labels.size


def digest(sample: Sample) -> str:
    pixels = torch.round(sample.image * 64).to(torch.int8).numpy().tobytes()
    return hashlib.sha256(pixels + sample.caption.encode()).hexdigest()


@pytest.mark.slow
def test_samples_have_the_documented_shapes_and_ranges(drawn):
    for size in (16, 50, 64):
        sample = Scenes(size=size)[3]
        assert sample.image.shape == (3, size, size) and sample.image.dtype == torch.float32
        assert sample.segmentation.shape == (size, size)
        assert sample.segmentation.dtype == torch.int64
    for sample, facts in drawn:
        assert torch.isfinite(sample.image).all()
        assert sample.image.min() >= -1 and sample.image.max() <= 1
        assert sample.segmentation.min() >= 0 and sample.segmentation.max() < len(CLASSES)
        assert LANDS[sample.label] == facts["land"]
        assert sample.image.std() > 0.05


def test_palette_has_one_clearly_different_color_for_each_class():
    assert len(CLASSES) >= 14 and len(set(CLASSES)) == len(CLASSES)
    assert PALETTE.shape == (len(CLASSES), 3) and PALETTE.dtype == np.uint8
    assert [CLASSES[CLASS_INDEX[name]] for name in CLASSES] == list(CLASSES)
    gaps = np.linalg.norm(PALETTE[:, None].astype(float) - PALETTE[None], axis=-1)
    assert gaps[~np.eye(len(CLASSES), dtype=bool)].min() >= 30


def test_equal_in_any_order_thread_and_instance():
    forwards = [digest(Scenes(size=32, seed=5)[i]) for i in range(12)]
    shared = Scenes(size=32, seed=5)
    with ThreadPoolExecutor(4) as pool:
        backwards = list(pool.map(lambda i: digest(shared[i]), range(11, -1, -1)))
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 12


def test_equal_in_another_process_with_another_hash_seed():
    code = (
        "import json\n"
        "from core.data.scenes import Scenes\n"
        "s = Scenes(size=32, seed=5)\n"
        "print(json.dumps([float(s[i].image.double().mean()) for i in range(6)]))\n"
        "print(json.dumps([s[i].caption for i in range(6)]))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    root = ROOT
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=root,
        env=environment,
        check=True,
    ).stdout.splitlines()
    scenes = Scenes(size=32, seed=5)
    means = [float(scenes[i].image.double().mean()) for i in range(6)]
    assert np.allclose(json.loads(out[0]), means, atol=1e-6)
    assert json.loads(out[1]) == [scenes[i].caption for i in range(6)]


@pytest.mark.slow
def test_a_scene_is_the_same_composition_at_every_size():
    small, large = Scenes(size=64, seed=2), Scenes(size=256, seed=2)
    differences, agreements = [], []
    for i in range(16):
        a, b = small[i], large[i]
        assert a.caption == b.caption and small.attributes(i) == large.attributes(i)
        averaged = b.image.reshape(3, 64, 4, 64, 4).mean((2, 4))
        differences.append((a.image - averaged).abs().mean().item() / 2)
        agreements.append((a.segmentation == b.segmentation[2::4, 2::4]).double().mean().item())
    assert np.mean(differences) < 0.02 and max(differences) < 0.045
    assert np.mean(agreements) > 0.95 and min(agreements) > 0.90
    # two different scenes are much less similar
    other = (small[0].image - small[1].image).abs().mean().item() / 2
    assert other > 3 * max(differences)


def test_outlines_of_the_map_are_edges_of_the_picture(drawn):
    across, within = [], []
    for sample, _ in drawn[:120]:
        change = (sample.image[:, :, 2:] - sample.image[:, :, :-2]).abs().mean(0)
        differ = sample.segmentation[:, 2:] != sample.segmentation[:, :-2]
        across.append(change[differ].mean().item())
        within.append(change[~differ].mean().item())
    assert np.mean(across) > 2.5 * np.mean(within)


def test_every_class_hour_weather_season_and_land_occurs(drawn):
    seen = {
        kind: {facts[kind] for _, facts in drawn} for kind in ("hour", "weather", "season", "land")
    }
    assert seen["hour"] == set(HOURS) and seen["weather"] == set(WEATHERS)
    assert seen["season"] == set(SEASONS) and seen["land"] == set(LANDS)
    total = sum(shares(sample) > MIN_AREA for sample, _ in drawn)
    assert dict(zip(CLASSES, total > 0, strict=True)) == dict.fromkeys(CLASSES, True)


def test_hours_and_weathers_look_like_themselves(drawn):
    def mean(key: str, value: str, measure) -> float:
        return float(np.mean([measure(s) for s, facts in drawn if facts[key] == value]))

    def luminance(sample: Sample) -> float:
        return sample.image.mean().item()

    def warmth(sample: Sample) -> float:
        return (sample.image[0] - sample.image[2]).mean().item()

    def contrast(sample: Sample) -> float:
        return sample.image.mean(0).std().item()

    assert mean("hour", "night", luminance) < mean("hour", "dusk", luminance) - 0.2
    assert mean("hour", "dusk", luminance) < mean("hour", "noon", luminance) - 0.1
    assert mean("hour", "dusk", warmth) > mean("hour", "noon", warmth) + 0.2
    assert mean("weather", "fog", contrast) < mean("weather", "clear", contrast)


# Phrase of a caption -> classes that must be visible (an empty tuple: none).
# Phrases are removed from the caption from top to bottom; no word may be left over.
PROMISES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"a line of trees|a forest|dark woods|woods", ("forest",)),
    (r"a path through the snow|a winding path|a path|a dirt road", ("path",)),
    (
        r"snowy mountains|a snowy mountain range|snow-capped peaks|snow-covered mountains",
        ("snowcap",),
    ),
    (r"rocky mountains|mountains|a mountain range|bare peaks", ("mountain",)),
    (r"rolling hills|gentle hills|hills", ("hill",)),
    (r"a snowy field|a snow-covered land|snowy ground|deep snow", ("snow",)),
    (r"a green meadow|an autumn meadow|a meadow|a grassy field", ("grass",)),
    (r"a sandy beach by the sea|the sea and a beach", ("sea", "beach")),
    (r"a beach", ("beach",)),
    (r"the open sea|a seashore|the sea", ("sea",)),
    (r"a calm lake|a lake", ("lake",)),
    (r"(?:red |yellow |pink |white |purple )?flowers in (?:the grass|bloom)", ("flowers",)),
    (
        r"the sun (?:high above|low in the sky|in the sky|above the horizon|on the horizon)|"
        r"a (?:bright|low) sun",
        ("sun",),
    ),
    (r"(?:a (?:full|round|half|crescent|thin)|the) moon(?: above| in the sky)?", ("moon",)),
    (r"northern lights|a green aurora|an aurora in the sky", ("aurora",)),
    (r"a rainbow(?: in the sky)?", ("rainbow",)),
    (r"a bird in flight|birds in the sky|birds flying", ("bird",)),
    (
        r"under scattered clouds|with clouds in the sky|under a cloudy sky|under an overcast sky|"
        r"on an overcast day|under a (?:grey )?blanket of cloud|under rain clouds",
        ("cloud",),
    ),
    (
        r"under a clear sky|in clear weather|under the stars|under a starry sky|in the rain|"
        r"on a rainy day|in falling snow|while snow falls|in a snowfall|in the fog|in thick fog|"
        r"on a foggy day",
        (),
    ),
    (
        r"at dawn|at daybreak|in the early morning|at first light|at noon|at midday|"
        r"in broad daylight|in the daytime|at dusk|in the evening|at nightfall|"
        r"at the end of the day|late at night|at night|in the night|by night",
        (),
    ),
    (r"in spring|in summer|in autumn|in winter|a landscape|open country", ()),
    (r"and a (?:red|white|yellow|blue|brown) one", ("house",)),
)
THINGS = re.compile(
    r"(an?|two|three|four|several) ((?:red|white|yellow|blue|brown|snowy|bare|green|blossoming|"
    r"pink|orange|golden|autumn) )?(houses?|conifers?|firs?|spruces?|trees?|boats?|sailboats?|"
    r"rocks?|boulders?)( on the left| on the right| in the middle)?"
)
KINDS = {"fir": "conifer", "spruce": "conifer", "sailboat": "boat", "boulder": "rock"}
GLUE = re.compile(r"[, ]|and|behind|with|in front of|beside|next to|near|by")


def promised(caption: str) -> tuple[dict[str, int], list[tuple[str, str, str]]]:
    """Return the classes that a caption names -> their number (0: some), and each single thing.

    A single thing is (kind, color, side).
    """
    classes: dict[str, int] = {}
    single: list[tuple[str, str, str]] = []
    left = caption
    for pattern, names in PROMISES[:2]:  # before the trees and the snow of "THINGS"
        left, hits = re.subn(rf"\b(?:{pattern})\b", "", left)
        classes.update(dict.fromkeys(names, 0) if hits else {})
    for number, color, noun, side in THINGS.findall(left):
        singular = noun[:-1] if noun.endswith("s") else noun
        kind = KINDS.get(singular, singular)
        classes[kind] = classes.get(kind, 0) + NUMBERS[number]
        single.append((kind, color.strip(), side.strip()))
    left = THINGS.sub("", left)
    for pattern, names in PROMISES[2:]:
        left, hits = re.subn(rf"\b(?:{pattern})\b", "", left)
        if hits:
            for name in names:
                classes[name] = classes.get(name, 0) + (hits if "one" in pattern else 0)
    assert not GLUE.sub("", left), f"{caption!r}: cannot judge {left!r}"
    return classes, single


def test_captions_promise_only_what_the_map_shows(drawn):
    for sample, facts in drawn:
        have = dict(zip(CLASSES, shares(sample), strict=True))
        classes, _ = promised(sample.caption)
        assert sample.caption == facts["caption"]
        assert set(classes) == set(facts["named"]), sample.caption
        for name, number in classes.items():
            assert have[name] >= MIN_AREA, (sample.caption, name)
            if number and name != "bird":
                count = facts["counts"][name]
                assert count == number if number < 5 else count >= 5, sample.caption
                assert have[name] >= MIN_AREA * count


def test_counts_are_the_separate_things_on_the_map(drawn):
    """Houses do not overlap, so the gaps between the columns they cover also count them."""
    agree, scenes = 0, 0
    for sample, facts in drawn:
        if facts["weather"] == "fog" or "house" not in facts["counts"]:
            continue
        houses = np.isin(sample.segmentation.numpy(), [CLASS_INDEX["house"], CLASS_INDEX["roof"]])
        columns = np.r_[0, (houses.sum(0) > 1).astype(int)]
        blocks = int((np.diff(columns) == 1).sum())
        agree += blocks == facts["counts"]["house"]
        scenes += 1
    # rarely, two touch or a tree stands in front of one
    assert scenes > 60 and agree > 0.8 * scenes


def test_a_named_side_is_where_the_thing_is(drawn):
    checked = 0
    for sample, facts in drawn:
        _, single = promised(sample.caption)
        for kind, _, side in single:
            if not side or facts["counts"][kind] != 1:
                continue
            columns = np.nonzero(sample.segmentation.numpy() == CLASS_INDEX[kind])[1]
            x = columns.mean() / 63
            low, high = {
                "on the left": (0, 0.42),
                "in the middle": (0.34, 0.66),
                "on the right": (0.58, 1),
            }[side]
            assert low <= x <= high, sample.caption
            checked += 1
    assert checked > 15


def test_a_named_house_color_is_the_color_of_its_walls(drawn):
    checked = 0
    for sample, facts in drawn:
        _, single = promised(sample.caption)
        colors = [color for kind, color, _ in single if kind == "house" and color]
        if not colors or facts["counts"]["house"] != 1:
            continue
        walls = sample.segmentation == CLASS_INDEX["house"]
        red, green, blue = ((sample.image[:, walls].median(1).values + 1) / 2).tolist()
        true = {
            "red": red > 1.5 * green and red > 1.5 * blue,
            "blue": blue > 1.15 * red,
            "yellow": green > 1.15 * blue and red > 1.3 * blue and green > 0.6 * red,
            "white": min(red, green, blue) > 0.62 * max(red, green, blue),
            "brown": red > green > blue * 0.95 and red < 0.75,
        }[colors[0]]
        assert true, (sample.caption, red, green, blue)
        checked += 1
    assert checked > 15


def test_the_words_for_hour_weather_and_season_fit_the_facts(drawn):
    hours = {
        "dawn": "dawn|daybreak|early morning|first light",
        "noon": "noon|midday|day(?:light|time)",
        "dusk": "dusk|evening|nightfall|end of the day",
        "night": r"(?:at|by|the) night\b",
    }
    weathers = {
        "rain": "rain(?!bow)",
        "snowfall": "falling snow|snow falls|snowfall",
        "fog": "fog",
        "overcast": "overcast|blanket of cloud",
        "clear": "clear|star",
        "cloudy": "scattered clouds|cloudy sky|with clouds",
    }
    weathers_named = 0
    for sample, facts in drawn:
        for hour, words in hours.items():
            assert bool(re.search(words, sample.caption)) == (hour == facts["hour"]), sample.caption
        for weather, words in weathers.items():
            if re.search(words, sample.caption):
                assert weather == facts["weather"], sample.caption
                weathers_named += 1
        for season in re.findall(r"\bin (spring|summer|autumn|winter)\b", sample.caption):
            assert season == facts["season"], sample.caption
        if "star" in sample.caption:
            assert facts["stars"] and facts["hour"] == "night"
    assert weathers_named > 0.8 * len(drawn)


def test_captions_vary(drawn):
    captions = [sample.caption for sample, _ in drawn]
    assert len(set(captions)) > 0.98 * len(captions)
    assert len({caption.split()[0] for caption in captions}) > 8
    assert max(len(caption.split()) for caption in captions) < 60


def test_a_fuller_moon_has_a_larger_area():
    scenes = Scenes(size=64)
    areas: dict[str, list[float]] = {"crescent": [], "half": [], "full": []}
    for i in range(500):
        plan = compose((0, 0, i))
        if plan.moon is None or plan.weather != "clear":
            continue
        facts = scenes.attributes(i)
        if facts["moon"]:
            areas[facts["moon"]].append(facts["areas"]["moon"])
    crescent, half, full = (np.mean(areas[phase]) for phase in ("crescent", "half", "full"))
    assert crescent < 0.75 * half and half < 0.75 * full


@pytest.mark.slow
def test_splits_and_seeds_share_no_scene():
    def all_of(**choice) -> set[str]:
        scenes = Scenes(size=16, length=40, **choice)
        return {digest(scenes[i]) for i in range(40)}

    sets = [all_of(split="train"), all_of(split="val"), all_of(split="test"), all_of(seed=1)]
    assert all(len(one) == 40 for one in sets)
    assert len(set.union(*sets)) == 160


def test_draws_cycle_through_the_items():
    scenes = Scenes(size=16, length=5)
    assert len(scenes) == 5
    assert digest(scenes.draw(7)) == digest(scenes[2]) == digest(scenes[-3])
    assert len({digest(scenes.draw(k)) for k in range(5, 10)}) == 5
    assert digest(scenes.draw(10**12 + 1)) == digest(scenes[1])
    with pytest.raises(IndexError):
        scenes[5]
    assert sum(1 for _ in scenes) == 5


def test_picture_equals_the_image_of_the_item():
    scenes = Scenes(size=48, seed=4)
    picture = scenes.picture(6)
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
    image = (scenes[6].image.permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(picture - image).max() <= 0.51


def test_open_dataset_opens_disjoint_splits():
    train, val = (open_dataset("scenes", size=16, split=split) for split in ("train", "val"))
    assert train.name == "scenes" and len(train) > len(val)
    assert not {digest(train[i]) for i in range(20)} & {digest(val[i]) for i in range(20)}


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"size": 15}, "15"),
        ({"size": 5000}, "5000"),
        ({"size": 64.5}, "64.5"),
        ({"seed": -1}, "-1"),
        ({"length": 0}, "0"),
        ({"split": "dev"}, "dev"),
    ],
)
def test_bad_arguments_get_one_sentence(choice, names):
    with pytest.raises(DataError) as error:
        Scenes(**choice)
    message = str(error.value)
    assert names in message and "\n" not in message and message.endswith(".")


def test_bad_draws_get_one_sentence():
    scenes = Scenes(size=16)
    with pytest.raises(DataError, match="from 0 up"):
        scenes.draw(-1)
    with pytest.raises(DataError, match="whole number"):
        scenes["3"]

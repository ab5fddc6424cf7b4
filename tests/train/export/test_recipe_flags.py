"""The flags on a card reproduce the run from its recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from train.config.base import CommonConfig
from train.export.recipe_flags import flags_beyond
from train.recipes import config_of
from train.recipes.command_line import parse_run


def parse(words: list[str]) -> CommonConfig:
    return parse_run(words, "python train/run.py")


@pytest.mark.parametrize(
    "words",
    [
        ["photos-regvq", "--codes-rate", "1", "--tokenizer.quantizer.mask-ratio", "0.2"],
        ["photos-nsvq", "--tokenizer.network.decoder-widths", "None", "--data.crop", "0.1", "0.5"],
        ["scenes-vq", "--loss.perceptual", "0.5", "--features.name", "squeezenet", "--batch", "8"],
        ["photos-vq", "--data.last-size", "128"],
        ["scenes-text-diffusion", "--prior.width", "96", "--sampling.guidance", "2.0"],
    ],
)
def test_flags_turn_the_recipe_into_the_run(words):
    recipe = words[0]
    config = parse([*words, "--steps", "7", "--out", "somewhere", "--data.root", "PHOTOS"])
    usual = config_of(recipe)
    flags = flags_beyond(config, usual)
    assert "somewhere" not in flags and "PHOTOS" not in flags and "steps" not in flags
    again = parse([recipe, *flags.split(), "--steps", "7"])
    data = replace(config.data, root=None)
    assert replace(again, data=replace(again.data, root=None)) == replace(
        config, out=None, data=data
    )
    assert flags_beyond(usual, usual) == ""


def test_paths_are_not_among_the_flags():
    config = replace(config_of("photos-regvq"), init=Path("mine"), codes_rate=3.0)
    assert flags_beyond(config, config_of("photos-regvq")) == "--codes-rate 3.0"

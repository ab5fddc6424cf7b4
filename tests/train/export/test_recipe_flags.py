"""The flags on a card make its run again."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from train.export.recipe_flags import flags_beyond
from train.recipes.priors import prior_config_of
from train.recipes.tokenizers import config_of

_parse = importlib.import_module("train.run")._parse


@pytest.mark.parametrize(
    "words",
    [
        ["photos-regvq", "--codes-rate", "10", "--tokenizer.quantizer.mask-ratio", "0.2"],
        ["photos-nsvq", "--tokenizer.network.widths", "16", "32", "--data.crop", "0.1", "0.5"],
        ["scenes-vq", "--loss.perceptual", "0.5", "--features.name", "squeezenet", "--batch", "8"],
        ["photos-vq", "--data.last-size", "None"],
        ["scenes-text-diffusion", "--prior.width", "96", "--sampling.guidance", "2.0"],
    ],
)
def test_flags_lead_from_the_recipe_to_the_run(words):
    recipe = words[0]
    config = _parse([*words, "--steps", "7", "--out", "somewhere", "--data.root", "PHOTOS"])
    usual = (prior_config_of if "diffusion" in recipe else config_of)(recipe)
    flags = flags_beyond(config, usual)
    assert "somewhere" not in flags and "PHOTOS" not in flags and "steps" not in flags
    again = _parse([recipe, *flags.split(), "--steps", "7"])
    data = replace(config.data, root=None)
    assert replace(again, data=replace(again.data, root=None)) == replace(
        config, out=None, data=data
    )
    assert flags_beyond(usual, usual) == ""


def test_paths_are_their_makers_affair():
    config = replace(config_of("photos-regvq"), init=Path("mine"), codes_rate=3.0)
    assert flags_beyond(config, config_of("photos-regvq")) == "--codes-rate 3.0"

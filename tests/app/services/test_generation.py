"""Generation: requests, seeds, previews."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from app.services import generation, priors
from core.priors import Step

PROMPT = "a lake below mountains"
ALL = ("words", "planned", "both", "sketcher", "latents")


def test_each_picture_of_a_run_is_generated_again_by_its_seed(home: Path) -> None:
    plan = np.zeros((32, 32), np.int64)
    for name in ALL:

        def request(n: int, seed: int, name: str = name) -> generation.GenerationRequest:
            if name == "words":
                return generation.text_request(PROMPT, name, n, seed)
            return generation.map_request(plan, name, n, seed)

        *_, (_, many, figures) = generation.stream_results(request(3, 2**31 - 2))
        assert figures["seeds"] == [2**31 - 2, 2**31 - 1, 0]
        for ids, seed in zip(many, figures["seeds"], strict=True):
            *_, (_, one, _) = generation.stream_results(request(1, seed))
            assert one[0] == ids, name
        assert len({str(ids) for ids in many}) == 3


def test_a_preview_shows_the_tile_of_each_token(home: Path) -> None:
    request = generation.map_request(np.zeros((32, 32), np.int64), "planned", 1, 0)
    tiles = priors.code_tiles(request.handle, np.array([33]))
    ids = torch.full((1, 4, 4), -1)
    ids[0, 0, 1] = 33
    (shown,) = generation.preview_images(request, Step(ids, 1, 2))
    np.testing.assert_array_equal(shown[:8, 8:16], tiles[0])
    assert shown[8:].mean() < 30  # not generated yet


def test_half_of_a_surrogate_pair_is_not_a_letter(home: Path) -> None:
    request = generation.text_request("\ud800 lake", "words")
    assert request.prompt == "? lake" and "unknown" in request.note

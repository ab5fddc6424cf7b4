"""Cards of judges: command, terms and scores."""

from __future__ import annotations

import pytest

from core.bundles.bundle import find_bundle
from core.cards.judge import judge_card
from core.paths import ROOT


def test_a_card_has_command_terms_and_scores() -> None:
    settings = {
        "steps": 30,
        "pool": 50,
        "size": 32,
        "judged": 1200,
        "lr": 0.001,
        "seed": 0,
        "device": "cpu",
    }
    card = judge_card(
        "my-judge",
        data="scenes",
        purpose="it predicts a class per pixel.",
        command="segmenter --data.name scenes",
        settings=settings,
        scores={"Pixel accuracy": 0.625},
        pictures=1200,
    )
    command = "segmenter --data.name scenes --steps 30 --pool 50 --size 32 --judged 1200 --lr 0.001"
    assert f"`python train/judge.py {command} --seed 0`" in card
    assert "| Pixel accuracy | 62.5% |" in card and "1,200 held-out pictures of 32 pixels" in card
    assert card.startswith("---\n") and "license: apache-2.0" in card
    assert "device" not in card


@pytest.mark.parametrize("name", ["segmenter", "attributes"])
def test_shipped_cards_name_their_command(name: str) -> None:
    card = find_bundle(ROOT / "checkpoints" / f"scenes-{name}").card
    assert f"python train/judge.py {name}" in card
    assert "The judge's own score, on" in card

"""What the tab Generate offers for priors of photographs: birds by words, facades by maps."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from app.services import canvases, generation, priors, semantic_maps
from app.tabs import generate_handlers
from app.ui.errors import Refused
from core.data.datasets.facades import CLASSES as PARTS
from core.data.datasets.facades import Facades
from tests.helpers.tiny_priors import prior_bundles

BIRDS, FRONTS = "birds-text-diffusion", "facades-semantic-ar"


@pytest.fixture(scope="module")
def home(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = prior_bundles(tmp_path_factory.mktemp("photo"), bundles / "tiny-regvq", (BIRDS, FRONTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", str(root))
        yield root


def drawn(way: str, prior: str, prompt: str = "", plan: object = None) -> dict:
    how = (1, 0, None, None, None, None, None)
    *_, (value, _) = generate_handlers.show(way, prior, prompt, plan, None, None, None, *how)
    return value


def test_the_first_to_be_met_is_not_the_first_of_the_alphabet(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prior_bundles(tmp_path / "all", bundles / "tiny-regvq", (BIRDS, FRONTS, "planned"))
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(root))
    assert priors.names("semantic")[0] == FRONTS and priors.names("text")[0] == BIRDS
    monkeypatch.setattr(priors, "WELCOME", {"semantic": "planned", "text": "gone"})
    assert priors.names("semantic")[:2] == ["planned", FRONTS]
    assert priors.painter(None, "semantic").name == "planned"
    assert priors.names("text")[0] == BIRDS  # what is not there is not missed


def test_birds_are_asked_for_in_the_words_of_their_captions(home: Path) -> None:
    ready = generate_handlers.prepared("From words", BIRDS, None, None, None)
    offered = ready[7]
    assert len(offered) >= 4 and all("bird" in words for words in offered)
    painter = priors.painter(BIRDS, "text")
    for index, words in enumerate(offered):
        assert generate_handlers.say(BIRDS, SimpleNamespace(index=index)) == words
        assert priors.told_by_text(painter, words)[0] == words
    value = drawn("From words", BIRDS, offered[0])
    assert len(value["pictures"]) == 1 and value["figures"]["prompt"] == offered[0]


def test_facades_begin_with_fronts_in_their_own_colours(home: Path, tmp_path: Path) -> None:
    ready = generate_handlers.prepared("From a map", FRONTS, None, None, None)
    titles, paper = ready[8], ready[9]
    assert [card["caption"] for card in titles[:2]] == ["3 floors of 4", "4 floors of 3"]
    assert tuple(paper["classes"]) == PARTS
    assert [list(colour) for colour in paper["palette"]] == Facades.palette.tolist()
    for index in range(len(titles)):
        started = generate_handlers.start_from(FRONTS, SimpleNamespace(index=index))
        ids = np.frombuffer(base64.b64decode(started["ids"]), np.uint8).reshape(32, 32)
        assert {"facade", "window", "door"} <= {PARTS[i] for i in np.unique(ids)}
        # Painted in colours and read again, it is the same map.
        Image.fromarray(Facades.palette[ids]).save(tmp_path / "front.png")
        order = generation.map_order(str(tmp_path / "front.png"), FRONTS, 1, 0)
        np.testing.assert_array_equal(order.plan, ids)
    value = drawn("From a map", FRONTS, plan=paper)
    assert len(value["pictures"]) == 1
    assert value["figures"]["agreement"] is None  # nothing reads facades here


def test_a_scenes_map_is_no_facades_map(home: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (214, 92, 214)).save(tmp_path / "rainbow.png")
    with pytest.raises(Refused, match=r"#d65cd6.*stands for\s+nothing.*nearest known one is"):
        generation.map_order(str(tmp_path / "rainbow.png"), FRONTS, 1, 0)


def test_photographs_not_scenes_are_repainted(home: Path) -> None:
    _, hole = canvases.hole(priors.painter(FRONTS, "complete"), None, None)
    assert hole["mode"] == "mask" and (hole["width"], hole["height"]) == (4, 4)
    assert not semantic_maps.scenes_like(priors.painter(FRONTS, "complete"))

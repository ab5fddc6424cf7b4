"""The tab Generate with priors of photographs: birds from text, facades from semantic maps."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from app.services import canvases, generation, generation_examples, priors
from app.services.errors import UserError
from app.services.examples import examples
from app.tabs import generate_handlers as handlers
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


def results(mode: str, prior: str, prompt: str = "", plan: object = None) -> dict:
    sampled = (1, 0, None, None, None, None, None)
    *_, last = handlers.generate(mode, prior, prompt, plan, None, None, None, None, *sampled)
    return last["results"]


def test_the_default_prior_comes_first(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prior_bundles(tmp_path / "all", bundles / "tiny-regvq", (BIRDS, FRONTS, "planned"))
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(root))
    assert priors.names("semantic")[0] == FRONTS and priors.names("text")[0] == BIRDS
    monkeypatch.setattr(priors, "DEFAULT", {"semantic": "planned", "text": "gone"})
    assert priors.names("semantic")[:2] == ["planned", FRONTS]
    assert priors.open_prior(None, "semantic").name == "planned"
    assert priors.names("text")[0] == BIRDS  # a missing default is ignored


def test_prompts_for_birds_have_the_style_of_their_captions(home: Path) -> None:
    offered = handlers.on_prior_change("text", BIRDS, None, None, None)["prompts"]
    assert len(offered) >= 4 and all("bird" in words for words in offered)
    handle = priors.open_prior(BIRDS, "text")
    for index, words in enumerate(offered):
        assert handlers.on_prompt_pick(BIRDS, SimpleNamespace(index=index)) == words
        assert priors.clean_prompt(handle, words)[0] == words
    value = results("text", BIRDS, offered[0])
    assert len(value["pictures"]) == 1 and value["figures"]["prompt"] == offered[0]


def test_facades_start_from_example_maps_in_their_own_colors(home: Path, tmp_path: Path) -> None:
    ready = handlers.on_prior_change("semantic", FRONTS, None, None, None)
    titles, canvas = ready["examples"], ready["plan"]
    assert [card["caption"] for card in titles[:2]] == ["3 floors of 4", "4 floors of 3"]
    assert tuple(canvas["classes"]) == PARTS
    assert [list(color) for color in canvas["palette"]] == Facades.palette.tolist()
    for index in range(len(titles)):
        started = handlers.on_map_pick(FRONTS, SimpleNamespace(index=index))
        ids = np.frombuffer(base64.b64decode(started["ids"]), np.uint8).reshape(32, 32)
        assert {"facade", "window", "door"} <= {PARTS[i] for i in np.unique(ids)}
        # Saved in class colors and read again, it is the same map.
        Image.fromarray(Facades.palette[ids]).save(tmp_path / "front.png")
        request = generation.map_request(str(tmp_path / "front.png"), FRONTS, 1, 0)
        np.testing.assert_array_equal(request.plan, ids)
    value = results("semantic", FRONTS, plan=canvas)
    assert len(value["pictures"]) == 1
    assert value["figures"]["agreement"] is None  # no segmenter of facades is available


def test_a_map_of_scenes_is_refused_for_facades(home: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (214, 92, 214)).save(tmp_path / "rainbow.png")
    with pytest.raises(UserError, match=r"#d65cd6.*stands for\s+no class.*nearest known one is"):
        generation.map_request(str(tmp_path / "rainbow.png"), FRONTS, 1, 0)


def test_only_pictures_of_the_kind_that_a_prior_knows_are_offered(
    home: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fronts = priors.open_prior(FRONTS, "complete")
    coffee, landscape = examples()[0].path, examples()[-1].path
    # No example shows a facade; neither does the picture of the other tabs.
    for image in (None, coffee, str(photograph)):
        source, hole = canvases.inpaint_canvas(fronts, None, image)
        assert source is None and "mode" not in hole
        assert "knows only house facades, and no example shows any" in hole["none"]
    # What a visitor uploads here is used.
    source, hole = canvases.inpaint_canvas(fronts, canvases.encode_source(fronts, coffee))
    assert source is not None and (hole["width"], hole["height"]) == (4, 4)

    def offered(name: str, image: str) -> tuple[bytes, str]:
        monkeypatch.setitem(fronts.bundle.config, "data", {"name": name})
        monkeypatch.setattr(generation_examples, "SUBJECTS", subjects[name])
        source, hole = canvases.inpaint_canvas(fronts, None, image)
        assert source is not None
        return source.pixels.tobytes(), hole["note"]

    def read(path: str) -> bytes:
        return canvases.encode_source(fronts, path).pixels.tobytes()

    subjects: dict[str, dict[str, str]] = {"scenes": {"scenes": "drawn landscapes"}, "folder": {}}
    # The example of a prior of landscapes is not left for one of facades.
    shown = canvases.encode_source(fronts, landscape)
    left = replace(shown, example_for="drawn landscapes")
    assert canvases.inpaint_canvas(fronts, left)[0] is None
    note = "This prior knows only drawn landscapes, so the example is one."
    for image in (coffee, str(photograph)):
        assert offered("scenes", image) == (read(landscape), note)
    assert offered("folder", landscape) == (read(coffee), "")
    assert offered("folder", str(photograph)) == (read(str(photograph)), "")

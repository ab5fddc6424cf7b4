"""The endpoints of the tab Generate, on priors with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import server, shell
from app.services import priors
from app.tabs import generate_api
from core.checkpoints import load_prior, load_tokenizer
from core.conditions import Condition
from core.data.scenes import CLASSES, PALETTE
from core.images import open_picture, to_pixels, to_tensor
from core.priors import Step
from core.priors.categorical import seeded
from tests.app.test_api import pixels
from tests.helpers import local_http as http
from tests.helpers.tiny_priors import prior_bundles

PROMPT = "a lake below mountains"


@pytest.fixture(scope="module")
def client(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    app = shell.build_app()
    _, address, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
    )
    try:
        yield http.explorer(address, download_files=str(tmp_path_factory.mktemp("downloads")))
    finally:
        app.close(verbose=False)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    """Return a map of sky over grass with a house, and a picture of it at twice the size."""
    ids = np.zeros((32, 32), np.int64)
    ids[18:] = CLASSES.index("grass")
    ids[12:22, 8:16] = CLASSES.index("house")
    path = tmp_path_factory.mktemp("maps") / "plan.png"
    Image.fromarray(PALETTE[ids]).resize((64, 64), Image.Resampling.NEAREST).save(path)
    return ids, path


def test_a_prompt_becomes_the_priors_picture(client: Client, home: Path) -> None:
    gallery, ids, figures = client.predict(PROMPT, "words", 2, 7, api_name="/generate_text")
    prior, tokenizer = load_prior(home / "words"), load_tokenizer(home / "tiny-regvq")
    expected = prior.generate(
        Condition(texts=(PROMPT,)),
        2,
        generator=seeded(7, 2),
        guidance=2.0,
        temperature=0.9,
    )
    assert ids == expected.tolist()
    shown = to_pixels(tokenizer.decode(expected))
    for entry, picture in zip(gallery, shown, strict=True):
        np.testing.assert_array_equal(pixels(entry["image"]), picture)
    assert {"prior": "words", "seed": 7, "n": 2, "guidance": 2.0, "prompt": PROMPT}.items() <= (
        figures.items()
    )
    assert [entry["caption"] for entry in gallery] == ["seed 7", "seed 8"]
    again = client.predict(PROMPT, "words", 2, 7, api_name="/generate_text")[1]
    other = client.predict(PROMPT, "words", 1, 9, api_name="/generate_text")[1]
    assert again == ids and other[0] not in ids


def test_a_map_becomes_a_picture(client: Client, home: Path, plan: tuple) -> None:
    classes, path = plan
    _, ids, figures = client.predict(
        handle_file(path), "planned", 1, 3, api_name="/generate_semantic"
    )
    expected = load_prior(home / "planned").generate(
        Condition(segmentation=torch.from_numpy(classes)[None]),
        1,
        generator=seeded(3, 1),
        guidance=2.0,
        temperature=0.9,
    )
    assert ids == expected.tolist()
    assert figures["agreement"] is None  # no segmenter is available
    _, latent, _ = client.predict(handle_file(path), "latents", api_name="/generate_semantic")
    assert np.shape(latent) == (1, 4, 4)  # the codes nearest to the latents


def test_inpainting_keeps_the_tokens_that_are_not_marked(
    client: Client, home: Path, photograph: Path, tmp_path: Path
) -> None:
    mask = np.zeros((75, 101), np.uint8)
    mask[:, :40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    inputs = (handle_file(photograph), handle_file(tmp_path / "mask.png"), "both", 5)
    _, ids, figures = client.predict(*inputs, api_name="/complete")
    whole = open_picture(photograph)
    middle = whole.crop((13, 0, 88, 75)).resize((32, 32), Image.Resampling.LANCZOS)
    tokens = load_tokenizer(home / "tiny-regvq").encode(to_tensor(middle)[None])[0].numpy()
    # Of the square in the middle, columns 13 to 40 are marked: 27 of 75, 11.5 of 32 pixels.
    assert figures["tokens_repainted"] == 8
    np.testing.assert_array_equal(np.array(ids)[0][:, 2:], tokens[:, 2:])
    assert not np.array_equal(np.array(ids)[0][:, :2], tokens[:, :2])
    layer = Image.new("RGBA", (101, 75))
    layer.paste((0, 0, 0, 255), (0, 0, 40, 75))  # black strokes on a transparent layer
    layer.save(tmp_path / "layer.png")
    inputs = (handle_file(photograph), handle_file(tmp_path / "layer.png"), "both", 5)
    assert client.predict(*inputs, api_name="/complete")[1] == ids


def test_only_the_prompt_is_required(client: Client) -> None:
    gallery, ids, figures = client.predict(PROMPT, api_name="/generate_text")
    assert len(gallery) == 1 and np.shape(ids) == (1, 4, 4)
    assert figures["prior"] == "words" and figures["seed"] == 0  # the prior made for text only


def test_bad_requests_get_a_sentence_and_the_app_keeps_running(
    client: Client, plan: tuple, photograph: Path, tmp_path: Path
) -> None:
    def picture(name: str, color: int | tuple[int, int, int]) -> object:
        Image.new("RGB", (64, 64), color).save(tmp_path / name)
        return handle_file(tmp_path / name)

    good, white = handle_file(plan[1]), picture("white.png", (255,) * 3)
    black, pink = picture("black.png", 0), picture("pink.png", (255, 0, 128))
    Image.new("RGBA", (64, 64)).save(tmp_path / "clear.png")
    clear = handle_file(tmp_path / "clear.png")
    photo, text, semantic = handle_file(photograph), "/generate_text", "/generate_semantic"
    sampling = (None, None, None, None)
    cases = [
        (text, ("", "words"), "prompt is empty"),
        (text, (" \n ", "words"), "prompt is empty"),
        (text, ("lake " * 10_000, "words"), "10,000 words.*at most 200"),
        (text, ("x" * 50_000, "words"), "50,000 letters"),
        (text, ("🦄🦄", "words"), "knows none of the words in"),
        (text, ("狐狸", "words"), "knows none of the words in"),
        (text, (PROMPT, "gone"), "no prior called 'gone'; available: words, both"),
        (text, (PROMPT, "../../etc"), "no prior called"),
        (text, (PROMPT, "planned"), "not conditioned on text; usable here: words, both, sketcher"),
        (text, (PROMPT, "words", 0), "number of pictures must be a number from 1 to 8"),
        (text, (PROMPT, "words", 9), "number of pictures"),
        (text, (PROMPT, "words", 1, -1), "seed must be"),
        (text, (PROMPT, "words", 1, 0, -1.0), "guidance must be"),
        (text, (PROMPT, "words", 1, 0, None, 99.0), "temperature must be"),
        (text, (PROMPT, "words", 1, 0, None, None, 1.5), "top-k must be a whole number"),
        (text, (PROMPT, "words", 1, 0, None, None, None, 0), "top-p must be above 0"),
        (text, (PROMPT, "words", 1, 0, *sampling, 0), "number of steps must be a number from 1"),
        (text, (PROMPT, "words", 1, 0, *sampling, 1_000_000), "number of steps must be"),
        (text, (PROMPT, "words", 1, 0, *sampling, 21), "Steps must be .* from 1 to 20, got 21"),
        (semantic, (good, "words"), "not conditioned on semantic maps"),
        (semantic, (good, "planned", 1, 0, *sampling, 3), "a step per token"),
        (semantic, (None, "planned"), "no map yet"),
        (semantic, (pink, "planned"), "#ff0080, which stands for no class"),
        (semantic, (photo, "planned"), "which stands for no class"),
        ("/complete", (photo, black, "words"), "mask marks nothing"),
        ("/complete", (photo, white, "words"), "covers the whole picture"),
        ("/complete", (photo, None, "words"), "no mask"),
        ("/complete", (photo, clear, "words"), "clear.png is wholly transparent"),
        (semantic, (clear, "planned"), "clear.png is transparent in 100% of its pixels"),
        ("/complete", (None, white, "words"), "no picture yet"),
        ("/complete", (photo, white, "latents"), "latents, not tokens"),
    ]
    for name, inputs, words in cases:
        with pytest.raises(AppError, match=words) as refusal:
            client.predict(*inputs, api_name=name)
        assert "Traceback" not in str(refusal.value), inputs
    assert len(client.predict(PROMPT, "words", api_name=text)[0]) == 1


def test_the_api_returns_the_maps_of_a_two_stage_prior(client: Client, home: Path) -> None:
    _, ids, figures = client.predict(PROMPT, "sketcher", 2, 4, api_name="/generate_text")
    assert np.array(figures["layout"]).shape == np.array(ids).shape == (2, 4, 4)
    assert "layout" not in client.predict(PROMPT, "words", api_name="/generate_text")[2]


def test_the_api_streams_and_can_be_cancelled(client: Client, home: Path) -> None:
    job = client.submit(PROMPT, "sketcher", 2, 4, api_name="/generate_text")
    last = job.result()
    seen = job.outputs()
    done = [figures["done"] for *_, figures in seen[:-1]]
    assert len(done) >= 3 and done == sorted(done) and "total" in seen[0][2]
    assert (np.array(seen[0][1]) == -1).all()  # the map is generated first
    assert len(seen[0][0]) == len(last[0]) == 2 and last[1] == seen[-1][1]

    closed = []
    sample = priors.open_prior("words", "text").prior.sample

    def watched(*given: object, **how: object) -> Iterator[Step]:
        try:
            yield from sample(*given, **how)
        finally:
            closed.append(True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(priors.open_prior("words", "text").prior, "sample", watched)
        running = generate_api.generate_text(PROMPT, "words")
        next(running)
        assert not closed
        running.close()
        assert closed == [True]


def test_a_prior_without_its_tokenizer_is_refused(
    home: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prior_bundles(tmp_path / "moved", bundles / "tiny-regvq")
    # The tokenizer of that name has been replaced.
    for file in ("config.json", "model.safetensors"):
        (root / "tiny-regvq" / file).write_bytes((bundles / "tiny-vq" / file).read_bytes())
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(root))
    with pytest.raises(gr.Error, match="trained on another tokenizer"):
        next(generate_api.generate_text(PROMPT, "words"))

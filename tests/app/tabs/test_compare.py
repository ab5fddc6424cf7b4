"""The tab Compare, against computations of our own."""

from __future__ import annotations

import math
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.services import checkpoints, comparison, decoded_picture, reconstruction
from app.services.cache import RecentItems
from app.services.errors import UserError
from app.services.reconstruction import parse_request
from app.tabs import compare
from core.checkpoints import load_tokenizer
from core.images import open_picture, to_pixels, to_tensor
from tests.app.test_api import client, pixels  # noqa: F401  the fixture

NAMES = ["tiny-regvq", "tiny-vq"]


def test_each_checkpoint_reconstructs_the_picture(photograph: Path, bundles: Path) -> None:
    pictures, figures = compare.compare(str(photograph), NAMES)
    original = pixels(str(photograph))
    assert [words for _, words in pictures] == ["original", *NAMES]
    np.testing.assert_array_equal(pixels(pictures[0][0]), original)
    assert (figures["width"], figures["height"]) == (101, 75)
    for (path, _), row in zip(pictures[1:], figures["table"], strict=True):
        tokenizer = load_tokenizer(bundles / row["checkpoint"])
        picture = to_tensor(open_picture(photograph))[None]
        expected = to_pixels(tokenizer.reconstruct(picture))[0]
        np.testing.assert_array_equal(pixels(path), expected)
        mse = np.mean((original.astype(float) - expected) ** 2)
        assert row["psnr"] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-4)
        ids = tokenizer.encode(picture)
        assert row["codes_used"] == len(ids.unique()) and row["tokens"] == ids.numel() == 130
        assert row["bits_per_pixel"] == pytest.approx(130 * math.log2(60) / (101 * 75))
        assert row["bytes"] == math.ceil(130 * math.log2(60) / 8)
        assert (row["codebook_size"], row["downsampling"]) == (60, 8)


def test_the_table_contains_a_bundles_own_figures(
    bundles: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = checkpoints.open_tokenizer("tiny-vq")
    measured = {
        "utilization": 0.25, "perplexity": float("nan"), "images": 7,
        "data": {"described": "meadows"},
    }  # fmt: skip
    monkeypatch.setitem(handle.bundle.__dict__, "metrics", measured)
    found = comparison.describe(handle)
    assert found["quantizer"] == "VQ" and found["utilization"] == 0.25
    assert found["perplexity"] is None  # JSON knows no NaN
    assert found["measured_on"] == "7 meadows"
    assert comparison.describe(checkpoints.open_tokenizer("tiny-regvq"))["utilization"] is None


def test_the_page_fills_checkpoint_by_checkpoint(
    photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_picture, "_cache", RecentItems(8))
    steps = list(compare.show(str(photograph), NAMES))
    assert [["picture" in row for row in step["rows"]] for step in steps] == [
        [False, False],  # the frames come before anything is loaded
        [True, False],
        [True, True],
    ]
    original, shown = (
        pixels(file["path"]) for file in (steps[-1]["original"], steps[-1]["rows"][1]["picture"])
    )
    error = pixels(steps[-1]["rows"][1]["error"]["path"])
    apart = np.abs(original.astype(float) - shown).mean(-1)
    light = error @ np.array([0.2126, 0.7152, 0.0722])
    assert light[apart > 60].min() > light[apart < 5].max()


def test_known_results_never_disappear_from_the_page(photograph: Path) -> None:
    *_, before = compare.show(str(photograph), NAMES)
    (again,) = compare.show(str(photograph), NAMES)
    assert again == before
    # If one result is missing, the other stays and only the missing one is computed.
    for key in [key for key in decoded_picture._cache if key.handle.name == NAMES[1]]:
        del decoded_picture._cache[key]
    first, last = compare.show(str(photograph), NAMES)
    assert first["rows"] == [before["rows"][0], {"checkpoint": NAMES[1]}] and last == before


def test_the_page_says_what_is_missing(photograph: Path, broken: Path) -> None:
    def words(image: str | None, chosen: list[str]) -> dict:
        (only,) = compare.show(image, chosen)
        return only

    assert "No picture yet" in words(None, NAMES)["empty"]
    assert "at least 2" in words(str(photograph), ["tiny-vq"])["empty"]
    assert words(str(broken), NAMES)["problem"].startswith("list.jpg is not a picture")
    assert "no checkpoint called 'gone'" in words(str(photograph), [*NAMES, "gone"])["problem"]


def test_opening_keeps_the_choice_if_it_is_still_available(photograph: Path) -> None:
    path, thumbs, update = compare.open_tab(str(photograph), ["gone", "tiny-vq"], "tiny-regvq")
    assert path == str(photograph) and thumbs[0]["thumb"].startswith("data:image/png")
    assert update["value"] == ["tiny-vq"] and update["choices"] == NAMES
    _, _, update = compare.open_tab(None, [], "tiny-vq")
    assert update["value"] == ["tiny-vq", "tiny-regvq"]


def test_compare_as_an_api(client, photograph: Path) -> None:  # noqa: F811
    good = handle_file(photograph)
    gallery, figures = client.predict(good, NAMES, api_name="/compare")
    assert [entry["caption"] for entry in gallery] == ["original", *NAMES]
    assert [row["checkpoint"] for row in figures["table"]] == NAMES
    assert pixels(gallery[2]["image"]).shape == (75, 101, 3)
    # Without names, all that are available.
    _, default = client.predict(image=good, api_name="/compare")
    assert default == figures
    cases = [
        ((good, ["tiny-vq"]), "needs at least 2 checkpoints; available: tiny-regvq, tiny-vq"),
        ((good, ["tiny-vq", "tiny-vq"]), "needs at least 2"),
        ((good, [f"c{i}" for i in range(7)]), "At most 6 checkpoints .* not 7"),
        ((good, ["tiny-vq", "../../etc"]), "no checkpoint called"),
        ((good, ["tiny-vq", 3]), "must be a list of names"),
        ((good, {"a": 1}), "must be a list of names"),
        ((None, NAMES), "no picture"),
    ]
    for inputs, words in cases:
        with pytest.raises(AppError, match=words) as refusal:
            client.predict(*inputs, api_name="/compare")
        assert "Traceback" not in str(refusal.value)


def test_names_may_be_given_in_one_line() -> None:
    for text in ("tiny-vq, tiny-regvq", '["tiny-vq", "tiny-regvq"]'):
        assert [handle.name for handle in comparison.parse_checkpoints(text)] == [
            "tiny-vq",
            "tiny-regvq",
        ]


def test_names_that_are_no_list_are_refused_with_a_sentence() -> None:
    for text in ("[" * 50_000, "[1", "{}"):
        with pytest.raises(UserError):
            comparison.parse_checkpoints(text)


def test_a_chosen_example_is_the_picture_of_every_tab() -> None:
    event = type("Event", (), {"index": 0})()
    own, shared = compare.choose_example(event)
    assert own == shared and Image.open(own).size[0] > 0
    event.index = 99
    with pytest.raises(gr.Error, match="no such example"):
        compare.choose_example(event)


def test_reconstruct_and_compare_share_their_results(photograph: Path) -> None:
    found = comparison.compare_on(
        checkpoints.open_tokenizer(NAMES[0]), parse_request(str(photograph), NAMES[0]).picture
    )
    again, _ = reconstruction.run(parse_request(str(photograph), NAMES[0]))
    assert again is found
    _, figures = compare.compare(str(photograph), NAMES)
    for name in ("psnr", "ssim", "tokens", "codes_used", "codebook_size", "downsampling"):
        assert figures["table"][0][name] == found.figures[name]
    assert figures["table"][0]["bytes"] == found.figures["bytes_tokens"]

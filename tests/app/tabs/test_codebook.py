"""The tab Codebook, its handlers called directly, against a computation of our own."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.services import checkpoints, code_details, code_stats, scene_counts
from app.services import token_pictures as pictures
from app.tabs import codebook
from core.analysis.arrangement import order_by_color
from core.analysis.codes import paint_codes
from core.analysis.real_patches import unpack_patches
from core.images import open_picture, to_tensor
from core.tokenizer import Tokenizer
from tests.app.ui.test_plot import values

NAME = "tiny-regvq"
DEAD = (3, 17, 59)


def ids_of(tokenizer: Tokenizer, path: Path) -> np.ndarray:
    return tokenizer.encode(to_tensor(open_picture(path))[None])[0].numpy()


def test_usage_of_the_bundles_own_count() -> None:
    heat, figures = codebook.codebook_usage(NAME)
    counts = checkpoints.bundle(NAME).atlas["counts"]
    share = counts[counts > 0] / counts.sum()
    assert (figures["used"], figures["total"], figures["dead"]) == (57, 60, 3)
    assert figures["utilization"] == pytest.approx(57 / 60)
    assert figures["perplexity"] == pytest.approx(math.exp(-(share * np.log(share)).sum()))
    assert figures["tokens"] == counts.sum()
    assert figures["counts"] == counts.tolist()
    assert figures["source"] == "a test's pictures"
    assert Image.open(heat).size[0] == Image.open(heat).size[1]


def test_usage_counted_in_a_picture(photograph: Path, tokenizer: Tokenizer) -> None:
    _, figures = codebook.codebook_usage(NAME, "picture", str(photograph))
    ids = ids_of(tokenizer, photograph)
    assert figures["counts"] == np.bincount(ids.ravel(), minlength=60).tolist()
    assert figures["tokens"] == ids.size and figures["source"] == "this picture"


def test_usage_counted_in_scenes(tokenizer: Tokenizer) -> None:
    _, figures = codebook.codebook_usage(NAME, "scenes")
    expected = np.zeros(60, np.int64)
    for image in scene_counts.scenes():
        expected += np.bincount(tokenizer.encode(image[None]).numpy().ravel(), minlength=60)
    assert figures["counts"] == expected.tolist()
    assert figures["source"] == "3 drawn scenes at 64 × 64"


def test_a_bundle_without_statistics_gets_them_from_scenes() -> None:
    _, figures = codebook.codebook_usage("tiny-vq")
    assert figures["tokens"] == 3 * 8 * 8
    assert figures["source"] == "3 drawn scenes at 64 × 64"


@pytest.mark.parametrize("source", ["training", "", None, "/etc/passwd", 3])
def test_an_unknown_source_is_refused(source: object) -> None:
    with pytest.raises(gr.Error, match="source must be one of"):
        codebook.codebook_usage(NAME, source)


def test_the_heat_map_is_brighter_for_more_uses_and_crosses_out_dead_codes() -> None:
    counts = np.array([0, 1, 10, 100, 1000, 10000, 100, 0, 5])
    cell = 20
    grid = np.asarray(pictures.heat_picture(counts, cell)).astype(float) @ [0.2126, 0.7152, 0.0722]
    tiles = grid.reshape(3, cell, 3, cell).swapaxes(1, 2).reshape(9, cell, cell)
    middle = tiles[:, 2, 9]  # beside the diagonals
    alive = np.argsort(counts[[1, 8, 2, 3, 4, 5]])
    assert list(middle[[1, 8, 2, 3, 4, 5]][alive]) == sorted(middle[[1, 8, 2, 3, 4, 5]])
    assert middle[1] > 1.5 * middle[0]  # one use is clearly brighter than none
    for dead in (0, 7):
        assert tiles[dead, 4, 4] > 3 * tiles[dead, 4, 9]  # a stroke, not only a colour
    assert np.ptp(tiles[3][: cell - 1, : cell - 1]) == 0


def test_a_large_codebook_has_a_heat_picture_of_bounded_size() -> None:
    assert max(pictures.heat_picture(np.ones(65_536, np.int64)).size) <= 1024


def shown(**changed: Any) -> dict[str, Any]:
    """Return the inputs of the page's chart."""
    inputs = {"checkpoint": NAME, "source": "bundle", "image": None, "view": "usage"}
    return {**inputs, "order": "alike", "code": None, "selection": None, **changed}


def cells(value: dict[str, Any]) -> np.ndarray:
    """Return the code in each cell, row by row."""
    marks = value["figure"]["data"][0]
    rows = np.array(values(marks["customdata"]))
    cell = -np.floor(values(marks["y"])).astype(int) * 8 - 8 + np.floor(values(marks["x"]))
    return rows[np.argsort(cell), 0].astype(int)


def test_the_page_gets_what_it_draws(photograph: Path) -> None:
    value, strip = codebook.show_usage(*shown(image=str(photograph)).values())
    known = checkpoints.bundle(NAME).atlas
    rows = np.array(values(value["figure"]["data"][0]["customdata"]))
    np.testing.assert_array_equal(rows[np.argsort(rows[:, 0]), 1], known["counts"])
    np.testing.assert_array_equal(cells(value), known["grid"].argsort())
    assert "95.0" in strip and "counted on a test&#x27;s pictures" in strip
    assert "crossed-out" in value["note"]
    by_use = codebook.show_usage(*shown(order="usage").values())[0]
    assert (np.diff(known["counts"][cells(by_use)]) <= 0).all()
    by_number = codebook.show_usage(*shown(order="number").values())[0]
    np.testing.assert_array_equal(cells(by_number), np.arange(60))
    by_color = codebook.show_usage(*shown(order="color").values())[0]
    np.testing.assert_array_equal(cells(by_color), order_by_color(known["mean_color"]))
    with pytest.raises(gr.Error, match="order must be one of"):
        codebook.show_usage(*shown(order="taste").values())


def test_a_window_of_the_codebook_shows_its_codes_tiles() -> None:
    window = SimpleNamespace(x=[0, 2], y=[-2, 0], width=100, height=100)
    value, strip = codebook.show_view(*shown(view="tiles", order="number").values(), window)
    assert strip == gr.skip()
    meta, picture = value["figure"]["layout"]["meta"], value["figure"]["layout"]["images"][0]
    data = base64.b64decode(picture["source"].split(",", 1)[1])
    pixels = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    paints = checkpoints.bundle(NAME).atlas["paints"].astype(int)
    left, right, bottom, top = meta["window"]
    assert (left, right, bottom, top) == pytest.approx((-0.4, 2.4, -2.4, 0.4))
    # The middle of code 9, in column 1 and row 1 of 8 columns.
    x, y = int((1.5 - left) / 2.8 * 140), int((top + 1.5) / 2.8 * 140)
    np.testing.assert_allclose(pixels[y, x], paints[9, 4, 4], atol=40)  # WebP
    codes = np.array(values(value["figure"]["data"][0]["customdata"]))[:, 0]
    assert set(codes) == {0, 1, 8, 9}


def test_a_box_selects_the_codes_of_its_cells() -> None:
    corners = [[0, 0], [3, 0], [3, -1], [0, -1]]
    event = SimpleNamespace(polygon=corners, x=[0, 8], y=[-8, 0], width=200, height=200)
    selection, group, value = codebook.select(*shown(order="number").values(), event)
    assert sorted(selection.codes) == [0, 1, 2] and group["total"] == 3
    assert value["figure"]["layout"]["meta"]["chosen"] == 3


def test_the_codes_that_look_alike_are_found_among_their_tiles() -> None:
    figures = codebook.code_detail(NAME, 5)[3]
    paints = checkpoints.bundle(NAME).atlas["paints"].astype(float) / 255
    small = paints.reshape(60, 4, 2, 4, 2, 3).mean(axis=(2, 4)).reshape(60, -1)
    apart = np.sqrt(((small - small[5]) ** 2).mean(axis=1))
    expected = [code for code in apart.argsort(kind="stable") if code != 5][:8]
    assert figures["alike"] == expected
    assert figures["differences"] == pytest.approx(apart[expected], abs=1e-5)
    card = code_details.code_card(NAME, 5, None, "bundle")
    assert len(card["near_alike"]) == 8 and card["alike_among"] == 60


def test_detail_of_a_code(photograph: Path, tokenizer: Tokenizer) -> None:
    ids = ids_of(tokenizer, photograph)
    code = int(np.bincount(ids.ravel()).argmax())
    swatch, where, nearest, figures, _ = codebook.code_detail(NAME, code, str(photograph))
    counts = checkpoints.bundle(NAME).atlas["counts"]
    assert figures["uses"] == counts[code]
    assert figures["share"] == pytest.approx(counts[code] / counts.sum())
    assert figures["rank"] == 1 + sum(count > counts[code] for count in counts)
    assert figures["occurrences"] == (ids == code).sum() > 0
    # Its tile: the tokenizer's own, enlarged without smoothing.
    painted = paint_codes(tokenizer, [code])[0]
    np.testing.assert_array_equal(np.asarray(Image.open(swatch))[::16, ::16], painted)
    # Its nearest codes, by brute force.
    codes = tokenizer.quantizer.codebook().numpy().astype(np.float64)
    apart = np.linalg.norm(codes - codes[code], axis=1)
    expected = [found for found in apart.argsort() if found != code][:8]
    assert figures["nearest"] == expected
    assert figures["distances"] == pytest.approx(apart[expected], rel=1e-4)
    assert [caption.split(",")[0] for _, caption in nearest] == [f"code {n}" for n in expected]
    # Its occurrences: unchanged there, dark elsewhere.
    shown = np.asarray(Image.open(where)).astype(float)
    original = np.asarray(open_picture(photograph)).astype(float)
    lit = (ids == code).repeat(8, 0).repeat(8, 1)[:75, :101]
    np.testing.assert_array_equal(shown[lit], original[lit])
    rim = (shown == (255, 196, 92)).all(-1)
    dark = ~lit & ~rim
    assert shown[dark].mean() < 0.5 * original[dark].mean()


def test_detail_of_a_dead_code() -> None:
    figures = codebook.code_detail(NAME, DEAD[0])[3]
    assert (figures["uses"], figures["share"], figures["rank"]) == (0, 0.0, 58)


@pytest.mark.parametrize("code", [-1, 60, 10**9, 1.5, math.nan, math.inf, None, "seven", [1]])
def test_a_code_outside_the_codebook_is_refused(code: object) -> None:
    with pytest.raises(gr.Error, match="from 0 to 59") as refusal:
        codebook.code_detail(NAME, code)
    assert refusal.value.message.startswith("The code must be a")


def test_the_card_of_a_clicked_code(photograph: Path, tokenizer: Tokenizer) -> None:
    click = SimpleNamespace(index=5)
    code, card = codebook.select_code(NAME, str(photograph), "picture", click)
    assert code == card["code"] == 5
    ids = ids_of(tokenizer, photograph)
    assert card["uses"] == card["occurrences"] == (ids == 5).sum()  # counted in this picture
    data = base64.b64decode(card["swatch"].split(",", 1)[1])
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(data))), paint_codes(tokenizer, [5])[0]
    )
    assert len(card["near"]) == len(card["nearest"]) == 8
    for index in (None, 60, "x"):
        with pytest.raises(gr.Error, match="code must be"):
            codebook.select_code(NAME, None, "picture", SimpleNamespace(index=index))


def test_the_selected_code_is_kept_and_the_first_is_the_one_used_most(
    photograph: Path, tokenizer: Tokenizer
) -> None:
    source = "bundle"
    most = int(np.bincount(ids_of(tokenizer, photograph).ravel()).argmax())
    assert codebook.show_code(NAME, None, str(photograph), source)[0] == most
    assert codebook.show_code(NAME, 41, str(photograph), source)[0] == 41
    # It may be beyond the end of another checkpoint's codebook.
    assert codebook.show_code(NAME, 4000, str(photograph), source)[0] == most


def test_an_unreadable_picture_leaves_the_code_and_its_charts(
    broken: Path, warned: list[str]
) -> None:
    """Ranks and drift are drawn only after the selected code."""
    found = codebook.show_code(NAME, None, str(broken), "bundle")
    assert found == codebook.show_code(NAME, None, None, "bundle")  # in the first example
    assert len(warned) == 1 and warned[0].startswith("list.jpg is not a picture")
    click = SimpleNamespace(index=41)
    assert codebook.select_code(NAME, str(broken), "bundle", click)[0] == 41
    assert len(warned) == 1
    # Counts in that picture do not become those of another one.
    with pytest.raises(gr.Error, match=r"list\.jpg is not a picture"):
        codebook.show_code(NAME, None, str(broken), "picture")
    with pytest.raises(gr.Error, match=r"list\.jpg is not a picture"):
        codebook.select_code(NAME, str(broken), "picture", click)


def test_real_patches_of_a_code_are_those_of_its_bundle() -> None:
    tiles, starts = unpack_patches(checkpoints.bundle(NAME).atlas)
    having = np.diff(starts)
    code = int(having.argmax())
    *_, figures, real = codebook.code_detail(NAME, code)
    assert figures["real_patches"] == len(real) == having[code] > 1
    shown = [np.asarray(Image.open(file[0] if isinstance(file, tuple) else file)) for file in real]
    side = tiles.shape[1]
    for picture, tile in zip(shown, tiles[starts[code] : starts[code + 1]], strict=True):
        step = picture.shape[0] // side
        np.testing.assert_array_equal(picture[::step, ::step], tile)
    card = code_details.code_card(NAME, code, None, "bundle")
    assert card["real"]["source"] == "noise of a test" and card["real"]["cells"] == 3
    assert len(card["real"]["patches"]) == having[code]
    # A code that occurs in none of the pictures has none, and the card says how many were searched.
    missing = int((having == 0).argmax())
    assert having[missing] == 0
    card = code_details.code_card(NAME, missing, None, "bundle")
    assert card["real"]["patches"] == [] and card["real"]["pictures"] == 4


def test_a_bundle_without_patches_shows_none() -> None:
    *_, figures, real = codebook.code_detail("tiny-vq", 5)
    assert figures["real_patches"] is None and real == []
    assert code_details.code_card("tiny-vq", 5, None, "bundle")["real"] is None


def test_unreadable_patches_count_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {**checkpoints.bundle(NAME).atlas, "patches": np.arange(50, dtype=np.uint8)}
    handle = checkpoints.open_tokenizer(NAME)
    monkeypatch.setitem(handle.bundle.__dict__, "atlas", broken)
    code_stats.patches.cache_clear()
    assert code_details.code_card(NAME, 5, None, "bundle")["real"] is None
    code_stats.patches.cache_clear()

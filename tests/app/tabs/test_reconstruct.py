"""The tab Reconstruct, its handlers called directly, against a computation of our own."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from app.services import checkpoints, decoded_picture, tokenization, uploads
from app.services.token_pictures import ERROR_TOP
from app.tabs import reconstruct
from core.images import open_picture, to_pixels, to_tensor
from core.tokenizer import Tokenizer
from tests.helpers.odd_pictures import ODD_PICTURES, OddPicture

NAME = "tiny-regvq"


def final(*asked: Any) -> tuple:
    """Return the last values that the page gets."""
    return list(reconstruct.show(*asked))[-1]


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    """Return the PSNR of 8-bit pictures by its definition."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return 10 * math.log10(255**2 / error)


def test_the_reconstruction_is_that_of_the_tokenizer(
    photograph: Path, tokenizer: Tokenizer
) -> None:
    (original, shown), _, _, figures = reconstruct.reconstruct(str(photograph), NAME)
    picture = to_tensor(open_picture(photograph))[None]
    np.testing.assert_array_equal(pixels(original), pixels(str(photograph)))
    expected = to_pixels(tokenizer.reconstruct(picture))[0]
    np.testing.assert_array_equal(pixels(shown), expected)
    assert figures["psnr"] == pytest.approx(decibels(pixels(original), expected), abs=1e-4)
    ids = tokenizer.encode(picture)
    assert figures["tokens"] == ids.numel() == 10 * 13
    assert (figures["tokens_wide"], figures["tokens_high"]) == (13, 10)
    assert figures["codes_used"] == len(ids.unique())
    assert (figures["codebook_size"], figures["downsampling"]) == (60, 8)
    assert figures["checkpoint"] == NAME and figures["tokens_drawn"] == 0


def test_bytes_are_those_of_files(photograph: Path) -> None:
    (original, _), _, _, figures = reconstruct.reconstruct(str(photograph), NAME)
    assert figures["bytes_tokens"] == math.ceil(130 * math.log2(60) / 8)
    assert figures["bits_per_token"] == pytest.approx(math.log2(60))
    assert figures["bytes_png"] == Path(original).stat().st_size
    file = io.BytesIO()
    Image.open(photograph).save(file, "JPEG", quality=75)
    assert figures["bytes_jpeg"] == len(file.getvalue())
    assert figures["bytes_jpeg_smallest"] <= figures["bytes_jpeg_equal"] < figures["bytes_jpeg"]


def test_ssim_is_that_of_the_shown_pictures(photograph: Path) -> None:
    from skimage.metrics import structural_similarity

    (original, shown), _, _, figures = reconstruct.reconstruct(str(photograph), NAME)
    expected = structural_similarity(
        pixels(original) / 255,
        pixels(shown) / 255,
        channel_axis=-1,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=1,
    )
    assert figures["ssim"] == pytest.approx(expected, abs=1e-5)


def test_each_token_has_the_color_of_its_code(photograph: Path, tokenizer: Tokenizer) -> None:
    _, grid, _, _ = reconstruct.reconstruct(str(photograph), NAME)
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])[0].numpy()
    colors = checkpoints.bundle(NAME).atlas["mean_color"]
    shown = pixels(grid)
    assert shown.shape == (75, 101, 3)
    for y, x in [(0, 0), (7, 7), (8, 7), (74, 100), (40, 63), (40, 64)]:
        np.testing.assert_array_equal(shown[y, x], colors[ids[y // 8, x // 8]])


def test_tokens_can_be_drawn_in_three_ways(photograph: Path, tokenizer: Tokenizer) -> None:
    stage, _ = final(str(photograph), NAME, 0, 0)
    files = {name: pixels(file["path"]) for name, file in stage["tokens"].items()}
    assert set(files) == {"mean", "patch", "number"}
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])[0].numpy()
    paints = checkpoints.bundle(NAME).atlas["paints"]
    np.testing.assert_array_equal(files["patch"][8:16, 16:24], paints[ids[1, 2]])
    numbers = files["number"][::8, ::8].reshape(-1, 3)
    assert len(np.unique(numbers, axis=0)) == len(np.unique(ids))


def test_the_picture_comes_before_the_figures(photograph: Path) -> None:
    (first, waiting), (last, panel) = reconstruct.show(str(photograph), NAME, 0, 0)
    assert waiting == gr.skip() and "PSNR" in panel
    assert {"error", "jpeg", "jpegBytes"} == set(last) - set(first)
    assert {name: last[name] for name in first} == first
    assert len(list(reconstruct.show(None, NAME, 0, 0))) == 1


def test_the_error_is_bright_where_the_pictures_differ(photograph: Path) -> None:
    (original, shown), _, error, _ = reconstruct.reconstruct(str(photograph), NAME)
    apart = np.abs(pixels(original).astype(float) - pixels(shown)).mean(-1)
    light = pixels(error) @ np.array([0.2126, 0.7152, 0.0722])
    assert light.shape == apart.shape
    below = apart < 255 * ERROR_TOP  # above it the scale is at its end
    order = np.corrcoef(apart[below].argsort().argsort(), light[below].argsort().argsort())
    assert order[0, 1] > 0.99


@pytest.mark.parametrize("ratio", [0.25, 1.0])
def test_mask_ratio_draws_that_share_by_the_seed(
    photograph: Path, tokenizer: Tokenizer, ratio: float
) -> None:
    def shown(seed: int) -> np.ndarray:
        (_, picture), _, _, figures = reconstruct.reconstruct(str(photograph), NAME, ratio, seed)
        assert abs(figures["tokens_drawn"] - 130 * ratio) <= 0.5
        assert (figures["mask_ratio"], figures["seed"]) == (ratio, seed)
        return pixels(picture)

    picture = to_tensor(open_picture(photograph))[None]
    generator = torch.Generator().manual_seed(5)
    expected = to_pixels(tokenizer.reconstruct(picture, ratio, generator))[0]
    np.testing.assert_array_equal(shown(5), expected)
    tokenization._known.clear()
    decoded_picture._cache.clear()
    np.testing.assert_array_equal(shown(5), expected)
    assert not np.array_equal(shown(6), expected)


def test_a_large_picture_is_shrunk_and_the_panel_says_so(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (1300, 200), "teal").save(path)
    (original, _), _, _, figures = reconstruct.reconstruct(str(path), NAME)
    assert pixels(original).shape[:2] == (158, 1024)
    assert (figures["width"], figures["uploaded_width"]) == (1024, 1300)
    _, panel = final(str(path), NAME, 0, 0)
    assert "Shrunk from 1300 × 200 to 1024 × 158" in panel


def test_a_picture_smaller_than_a_token_is_reconstructed(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), "teal").save(path)
    (_, shown), _, _, figures = reconstruct.reconstruct(str(path), NAME)
    assert pixels(shown).shape == (1, 1, 3)
    assert figures["tokens"] == 1


# Outside a page Gradio warns with the text of its message, and Pillow warns about bad EXIF data.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("odd", ODD_PICTURES, ids=lambda odd: odd.name)
def test_odd_pictures_are_read_or_refused_by_name(odd: OddPicture, tmp_path: Path) -> None:
    path = tmp_path / odd.name
    odd.write(path)
    if odd.outcome == "refused":
        with pytest.raises(gr.Error) as refusal:
            reconstruct.reconstruct(str(path), NAME)
        odd.check_message(refusal.value.message)
        stage, panel = final(str(path), NAME, 0, 0)
        odd.check_message(stage["problem"])
        assert 'data-ready="false"' in panel
    else:
        (original, _), _, _, figures = reconstruct.reconstruct(str(path), NAME)
        if max(odd.size) <= uploads.MAX_SIDE:
            odd.check(Image.open(original))
        assert (figures["uploaded_width"], figures["uploaded_height"]) == odd.size


@pytest.mark.parametrize(
    ("ratio", "seed", "words"),
    [
        (math.nan, 0, "mask ratio"),
        (-0.1, 0, "mask ratio"),
        (1.5, 0, "mask ratio"),
        (math.inf, 0, "mask ratio"),
        ("half", 0, "mask ratio"),
        (None, 0, "mask ratio"),
        (0, -1, "seed"),
        (0, 2**40, "seed"),
        (0, 0.5, "seed"),
        (0, math.nan, "seed"),
        (0, None, "seed"),
    ],
)
def test_numbers_out_of_range_are_refused(
    photograph: Path, ratio: object, seed: object, words: str
) -> None:
    with pytest.raises(gr.Error, match=words) as refusal:
        reconstruct.reconstruct(str(photograph), NAME, ratio, seed)
    assert refusal.value.message.endswith(".")


@pytest.mark.parametrize(
    "name", ["nothing", "", None, 7, "../tiny-regvq", "/etc/passwd", "tiny-regvq/", "x" * 5000]
)
def test_only_a_checkpoint_of_the_list_is_opened(photograph: Path, name: object) -> None:
    with pytest.raises(gr.Error, match="no checkpoint called") as refusal:
        reconstruct.reconstruct(str(photograph), name)
    assert "tiny-regvq, tiny-vq" in refusal.value.message
    assert len(refusal.value.message) < 200


def test_without_a_picture(photograph: Path) -> None:
    with pytest.raises(gr.Error, match="no picture"):
        reconstruct.reconstruct(None, NAME)
    stage, panel = final(None, NAME, 0, 0)
    assert stage == {"empty": True}
    assert 'data-ready="false"' in panel


def test_the_panel_shows_the_figures(photograph: Path) -> None:
    _, _, _, figures = reconstruct.reconstruct(str(photograph), NAME)
    _, panel = final(str(photograph), NAME, 0, 0)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", panel))
    assert f"PSNR {figures['psnr']:.2f} dB" in words
    assert f"SSIM {figures['ssim']:.3f}" in words
    assert "Tokens 130 13 × 10, one per 8 × 8 pixels" in words
    assert "of 60 codes" in words
    assert f"Tokens {figures['bytes_tokens']} B" in words

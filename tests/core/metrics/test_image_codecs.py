"""Codecs at equal bytes: budgets are kept if possible, and true sizes are returned."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from core.metrics import image_codecs
from core.metrics.image_codecs import available_codecs, smallest, token_bytes, within


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :128]
    smooth = 128 + 90 * np.sin(rows / 13 + columns / 29)
    pixels = smooth[..., None] + rng.normal(0, 12, (96, 128, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def size_at(picture: Image.Image, codec: str, quality: int, **settings: object) -> int:
    buffer = io.BytesIO()
    picture.save(buffer, format=codec, quality=quality, **settings)
    return len(buffer.getvalue())


def test_token_bytes_are_log2_k_bits_each_rounded_up() -> None:
    assert token_bytes(1536, 1024) == 1920
    assert token_bytes(3, 1024) == 4  # 30 bits
    assert token_bytes(5, 1000) == 7  # 49.8 bits
    assert token_bytes(100, 1) == 0


def test_jpeg_and_webp_are_available() -> None:
    assert {"jpeg", "webp"} <= set(available_codecs())


@pytest.mark.parametrize("codec", available_codecs())
def test_the_largest_file_within_the_budget_is_taken(picture: Image.Image, codec: str) -> None:
    least, most = smallest(picture, codec), within(picture, codec, 10**9)
    assert most.quality == 100
    budget = (least.bytes + most.bytes) // 3
    coded = within(picture, codec, budget)
    assert least.bytes < coded.bytes <= budget
    # One step of quality more would not fit (or three: sizes do not increase strictly).
    assert any(within_one(picture, codec, coded.quality + step) > budget for step in (1, 2, 3))
    assert coded.picture.size == picture.size and coded.picture.mode == "RGB"
    off = [
        np.abs(np.asarray(picture, float) - np.asarray(version.picture, float)).mean()
        for version in (least, coded, most)
    ]
    assert off[0] > off[1] > off[2]


def within_one(picture: Image.Image, codec: str, quality: int) -> int:
    if codec == "jpeg":
        settings = {"optimize": True, "subsampling": "4:2:0"}
        plain, progressive = (
            size_at(picture, codec, quality, progressive=p, **settings) for p in (False, True)
        )
        return min(plain, progressive)
    if codec == "webp":
        return size_at(picture, codec, quality, method=6)
    return size_at(picture, codec, quality, speed=6, subsampling="4:2:0", max_threads=1)


def test_smallest_jpeg_is_the_smaller_of_baseline_and_progressive(picture: Image.Image) -> None:
    coded = smallest(picture, "jpeg")
    assert coded.quality == 1
    assert coded.bytes == within_one(picture, "jpeg", 1)
    # no file of another quality is smaller
    assert coded.bytes <= min(within_one(picture, "jpeg", quality) for quality in range(1, 101, 7))


@pytest.mark.parametrize("codec", available_codecs())
def test_an_impossible_budget_gets_the_smallest_file_and_its_true_size(
    picture: Image.Image, codec: str
) -> None:
    coded, least = within(picture, codec, 10), smallest(picture, codec)
    assert coded.bytes == least.bytes > 10
    assert coded.quality == least.quality


def test_an_unknown_codec_is_refused_by_name(picture: Image.Image) -> None:
    with pytest.raises(ValueError, match="'tiff'"):
        smallest(picture, "tiff")


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize("slope", [0, 1, 3])
def test_the_highest_quality_within_any_budget(
    codec: str, slope: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that grow by ``slope`` bytes every second step of quality, and every budget."""
    first, last = (1, 100) if codec == "jpeg" else (0, 100)
    sizes = {q: 40 + slope * ((q - first) // 2) for q in range(first, last + 1)}
    monkeypatch.setattr(image_codecs, "_encode", lambda picture, codec, q: bytes(sizes[q]))
    monkeypatch.setattr(image_codecs, "_decoded", lambda codec, q, data: (q, len(data)))
    for budget in range(38, 40 + 50 * slope + 3):
        fitting = [q for q in sizes if sizes[q] <= budget]
        quality = max(fitting) if fitting else first
        assert within(None, codec, budget) == (quality, sizes[quality]), budget
    assert smallest(None, codec) == (first, 40)


def test_a_larger_file_of_a_lower_quality_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {q: 100 + q for q in range(1, 101)} | {76: 149}  # the second step of the bisection
    monkeypatch.setattr(image_codecs, "_encode", lambda picture, codec, q: bytes(sizes[q]))
    monkeypatch.setattr(image_codecs, "_decoded", lambda codec, q, data: (q, len(data)))
    assert within(None, "jpeg", 160) == (51, 151)


def test_of_several_encodings_the_shortest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = (lambda *_: b"aaaaa", lambda *_: b"zzz", lambda *_: b"bbbb")
    monkeypatch.setattr(image_codecs, "_ENCODERS", {"jpeg": encoders})
    assert image_codecs._encode(None, "jpeg", 5) == b"zzz"


@pytest.mark.parametrize("codec", available_codecs())
def test_files_are_those_of_the_stated_settings(picture: Image.Image, codec: str) -> None:
    large = picture.resize((512, 384), Image.Resampling.BICUBIC)
    for one in (picture, large):
        for budget in (10, 3000, 10**9):
            coded = within(one, codec, budget)
            assert coded.bytes == within_one(one, codec, coded.quality)
    if codec == "jpeg":  # a progressive file is the smaller one of a large picture
        settings = {"optimize": True, "subsampling": "4:2:0"}
        plain = size_at(large, codec, 90, progressive=False, **settings)
        assert size_at(large, codec, 90, progressive=True, **settings) < plain
        assert within(large, codec, plain - 1).quality >= 90

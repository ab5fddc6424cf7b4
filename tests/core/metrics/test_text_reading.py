"""The share of drawn text that a reader reads."""

from __future__ import annotations

import builtins
import functools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont
from torch import Tensor

from core.errors import FeatureError
from core.metrics.text_reading import (
    HEIGHTS,
    LINES,
    drawn_lines,
    edit_distance,
    load_reader,
    read_text,
    similarity,
    words_read,
)


class Painter:
    """A tokenizer whose pictures are all gray, or those that it was given."""

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps
        self.images = torch.zeros(0)

    def encode(self, images: Tensor) -> Tensor:
        self.images = images
        return torch.zeros(1, 1, 1, dtype=torch.int64)

    def decode(self, ids: Tensor) -> Tensor:
        # As every decoder, whole cells: more than the picture.
        padded = torch.nn.functional.pad(self.images, (0, 5, 0, 3))
        return padded if self.keeps else torch.zeros_like(padded)


def answering(lines: list[tuple[str, object]]) -> object:
    """Return a reader that knows the lines by their pixels and reads nothing in others."""
    known = {np.asarray(picture).tobytes(): text for text, picture in lines}
    return lambda pixels: known.get(np.ascontiguousarray(pixels).tobytes(), "")


@functools.cache
def slow_distance(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    same = slow_distance(a[1:], b[1:]) + (a[0] != b[0])
    return min(same, slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1)


@given(st.text("ab c", max_size=6), st.text("ab c", max_size=6))
def test_edit_distance_is_that_of_its_definition(a: str, b: str) -> None:
    assert edit_distance(a, b) == slow_distance(a, b)


def test_similarity_and_words() -> None:
    assert similarity("Kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert similarity("", "") == 1 and similarity("a", "") == 0
    assert words_read("red fox Red", "RED dog") == pytest.approx(1 / 3)
    assert words_read("red fox", "fox red") == 1 and words_read("", "x") == 1


def test_lines_are_those_of_their_seed_and_can_be_seen() -> None:
    lines = drawn_lines(16, 8, seed=1)
    again = drawn_lines(16, 8, seed=1)
    assert [text for text, _ in lines] == [text for text, _ in again]
    assert all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(lines, again, strict=True))
    assert [text for text, _ in drawn_lines(16, 8, seed=2)] != [text for text, _ in lines]
    for index, (text, picture) in enumerate(lines):
        assert len(text.split()) == 3
        pixels = np.asarray(picture.convert("L"), dtype=int)
        paper = pixels[0, 0]
        assert (paper > 150) == (index % 2 == 0)
        assert np.abs(pixels - paper).max() > 90
        ink = np.argwhere(np.abs(pixels - paper) > 45)
        assert (ink.min(0) >= 6).all() and (ink.max(0) <= np.array(pixels.shape) - 7).all()
    tall = drawn_lines(32, 1)[0][1]
    assert 1.6 < tall.height / drawn_lines(16, 1)[0][1].height < 2.4


def test_the_lines_of_a_height_stay_the_same() -> None:
    found = drawn_lines(16, 3)
    assert [text for text, _ in found] == [
        "family railway 9752", "yellow river bakery", "railway candle island",
    ]  # fmt: skip
    papers = [picture.getpixel((0, 0)) for _, picture in found]
    assert papers == [(181, 189, 199), (37, 24, 13), (251, 233, 205)]
    left, top, right, bottom = ImageFont.load_default(16).getbbox(found[0][0])
    assert found[0][1].size == (right - left + 16, bottom - top + 16)
    assert (HEIGHTS, LINES) == ((12, 16, 24, 32), 25)


def test_the_reader_gets_one_line_as_its_models_expect_it(monkeypatch) -> None:
    asked = []

    class Engine:
        def __init__(self, params: dict[str, str]) -> None:
            asked.append(params)

        def __call__(self, picture: np.ndarray, **steps: bool) -> SimpleNamespace:
            asked.append((picture.tolist(), picture.flags.c_contiguous, steps))
            return SimpleNamespace(txts=("a", "line") if picture.any() else None)

    monkeypatch.setitem(sys.modules, "rapidocr", SimpleNamespace(RapidOCR=Engine))
    reader = load_reader()
    assert reader(np.array([[[1, 2, 3]]], np.uint8)) == "a line"
    assert reader(np.zeros((1, 1, 3), np.uint8)) == ""
    steps = {"use_det": False, "use_cls": False, "use_rec": True}
    assert asked[:2] == [{"Global.log_level": "error"}, ([[[3, 2, 1]]], True, steps)]


def test_a_perfect_tokenizer_reads_like_the_originals() -> None:
    lines = [line for height in (12, 20) for line in drawn_lines(height, 3, seed=5)]
    found = read_text(Painter(True), answering(lines), heights=(12, 20), lines=3, seed=5)
    expected = dict.fromkeys(("characters", "words", "original_characters", "original_words"), 1.0)
    assert found["rows"] == [{"height": 12, **expected}, {"height": 20, **expected}]


def test_a_gray_picture_has_no_text() -> None:
    found = read_text(Painter(False), answering(drawn_lines(12, 3)), heights=(12,), lines=3)
    assert found["rows"] == [
        {"height": 12, "original_characters": 1.0, "original_words": 1.0, "characters": 0.0,
         "words": 0.0}
    ]  # fmt: skip


def test_unusable_settings_are_refused() -> None:
    for settings in ({"lines": 0}, {"heights": ()}, {"heights": (12, 7)}):
        with pytest.raises(ValueError, match="heights of 8 pixels or more are needed"):
            read_text(Painter(True), lambda _: "", **settings)


def test_a_missing_package_is_one_sentence(monkeypatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "rapidocr":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FeatureError, match="pip install rapidocr onnxruntime"):
        load_reader()


@pytest.mark.slow
def test_ocr_reads_the_originals() -> None:
    pytest.importorskip("rapidocr")
    found = read_text(Painter(False), load_reader(), lines=6)
    assert [row["height"] for row in found["rows"]] == list(HEIGHTS)
    assert all(row["original_characters"] > 0.9 for row in found["rows"])
    assert all(row["characters"] == 0 for row in found["rows"])

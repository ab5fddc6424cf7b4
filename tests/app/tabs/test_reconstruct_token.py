"""Single tokens: the card, edits on the page and by /edit_tokens."""

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
import torch
from PIL import Image

from app.tabs import reconstruct_token
from core.analysis.codes import runner_ups
from core.analysis.token_edits import edited
from core.images import open_picture, to_pixels, to_tensor
from core.tokenizer import Tokenizer
from tests.app.tabs.test_reconstruct import final

NAME, PLAIN = "tiny-regvq", "tiny-vq"


def ids_of(tokenizer: Tokenizer, path: Path) -> np.ndarray:
    return tokenizer.encode(to_tensor(open_picture(path))[None])[0].numpy()


def decoded(tokenizer: Tokenizer, ids: np.ndarray) -> np.ndarray:
    return to_pixels(tokenizer.decode(torch.from_numpy(ids)[None])[..., :75, :101])[0]


def pixels(file: Any) -> np.ndarray:
    if isinstance(file, str) and file.startswith("data:"):
        file = io.BytesIO(base64.b64decode(file.split(",", 1)[1]))
    return np.asarray(Image.open(file).convert("RGB"))


def other_code(ids: np.ndarray, row: int, column: int) -> int:
    return (int(ids[row, column]) + 7) % 60


def test_edited_tokens_are_decoded(photograph: Path, tokenizer: Tokenizer) -> None:
    ids = ids_of(tokenizer, photograph)
    edits = [[2, 3, other_code(ids, 2, 3)], [9, 12, other_code(ids, 9, 12)]]
    picture, figures = reconstruct_token.edit_tokens(str(photograph), NAME, edits)
    expected = decoded(tokenizer, edited(ids, map(tuple, edits), 60))
    np.testing.assert_array_equal(pixels(picture), expected)
    before = decoded(tokenizer, ids)
    assert figures["tokens_edited"] == 2
    assert figures["pixels_changed"] == pytest.approx((expected != before).any(2).mean())
    original = np.asarray(open_picture(photograph)).astype(float)
    for key, shown in (("psnr", expected), ("psnr_before", before)):
        mse = np.mean((shown - original) ** 2)
        assert figures[key] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-4)
    picture, figures = reconstruct_token.edit_tokens(str(photograph), NAME, [])
    np.testing.assert_array_equal(pixels(picture), before)
    assert figures["pixels_changed"] == 0


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        (None, r"must be a list of \[row, column, code\]"),
        ({"row": 1}, "must be a list"),
        ([[1, 2]], r"Edit 1 must be \[row, column, code\]"),
        ([[0, 0, 0], "abc"], r"Edit 2 must be \[row"),
        ([[10, 0, 0]], "row of edit 1 must be a number from 0 to 9"),
        ([[0, 13, 0]], "column of edit 1 must be a number from 0 to 12"),
        ([[0, 0, 0], [0, 0, 60]], "code of edit 2 must be a number from 0 to 59"),
        ([[0, 0, 1.5]], "code of edit 1 must be a whole number"),
        ([[0, -1, 0]], "column of edit 1"),
        ([[0, 0, None]], "code of edit 1"),
        ([[0, 0, 0]] * 131, "131 edits for a picture of 130 tokens"),
    ],
)
def test_wrong_edits_are_refused_in_a_sentence(photograph: Path, edits: Any, words: str) -> None:
    with pytest.raises(gr.Error, match=words) as refusal:
        reconstruct_token.edit_tokens(str(photograph), NAME, edits)
    assert refusal.value.message.endswith(".")


def test_the_card_of_a_token(photograph: Path, tokenizer: Tokenizer) -> None:
    click = SimpleNamespace(row=4, column=6)
    card, code = reconstruct_token.show_token(str(photograph), NAME, 0, 0, None, None, click)
    ids = ids_of(tokenizer, photograph)
    assert code == card["code"] == card["was"] == ids[4, 6]
    image = to_tensor(open_picture(photograph))
    runners, shares = runner_ups(tokenizer, image, 4, 6)
    assert [runner["code"] for runner in card["runners"]] == runners.tolist()
    assert [runner["p"] for runner in card["runners"]] == pytest.approx(shares.tolist(), rel=1e-4)
    assert card["p"] == pytest.approx(float(shares[runners.tolist().index(code)]), rel=1e-4)
    assert pixels(card["runners"][1]["shown"]).shape == (24, 24, 3)
    assert (pixels(card["runners"][1]["shown"]) != pixels(card["here"])).any()
    assert 1 <= card["extent"] <= 88 and pixels(card["field"]).shape == (75, 88, 3)
    assert not card["changed"] and card["edited"] == 0
    for wrong in (SimpleNamespace(row=10, column=0), SimpleNamespace(row=0), SimpleNamespace()):
        with pytest.raises(gr.Error, match=r"(row|column) must be"):
            reconstruct_token.show_token(str(photograph), NAME, 0, 0, None, None, wrong)


def test_a_quantizer_without_a_posterior_shows_distances(photograph: Path) -> None:
    card, _ = reconstruct_token.show_token(
        str(photograph), PLAIN, 0, 0, None, None, SimpleNamespace(row=0, column=0)
    )
    assert card["p"] is None and {runner["p"] for runner in card["runners"]} == {None}
    apart = [runner["distance"] for runner in card["runners"]]
    assert apart == sorted(apart) and card["runners"][0]["code"] == card["code"]


def test_codes_are_replaced_and_edits_undone(photograph: Path, tokenizer: Tokenizer) -> None:
    ids = ids_of(tokenizer, photograph)
    settings = (str(photograph), NAME, 0, 0)

    def put(kept: Any, row: int, column: int, code: Any, **more: Any) -> tuple:
        event = SimpleNamespace(row=row, column=column, code=code, **more)
        found = reconstruct_token.replace_code(*settings, kept, None, event)
        return tuple(found[name] for name in ("edits", "stage", "figures", "token", "code"))

    first, second = other_code(ids, 1, 1), other_code(ids, 5, 5)
    kept, stage, _, card, code = put(None, 1, 1, first)
    assert code == card["code"] == first and card["was"] == ids[1, 1] and card["changed"]
    kept, stage, panel, card, _ = put(kept, 5, 5, second)
    assert stage["edited"] == [[1, 1], [5, 5]] and card["edited"] == 2
    expected = edited(ids, [(1, 1, first), (5, 5, second)], 60)
    shown = np.frombuffer(base64.b64decode(stage["ids"]), "<u4").reshape(ids.shape)
    np.testing.assert_array_equal(shown, expected)
    picture = pixels(stage["reconstruction"]["path"])
    np.testing.assert_array_equal(picture, decoded(tokenizer, expected))
    original = np.asarray(open_picture(photograph)).astype(float)
    psnr = 10 * math.log10(255**2 / np.mean((picture - original) ** 2))
    assert f">{psnr:.2f}<" in panel
    # The tab opened again shows them; another picture, ratio or checkpoint does not.
    assert final(*settings, kept)[0]["edited"] == [[1, 1], [5, 5]]
    assert final(str(photograph), NAME, 0.1, 0, kept)[0]["edited"] == []
    assert final(str(photograph), PLAIN, 0, 0, kept)[0]["edited"] == []
    # One edit is undone, or replaced by the token's own code, or all are undone.
    kept, stage, *_ = put(kept, 1, 1, None)
    assert stage["edited"] == [[5, 5]]
    assert put(kept, 5, 5, int(ids[5, 5]))[1]["edited"] == []
    assert put(kept, 0, 0, None, all=True)[0]["edits"] == ()
    for code in (60, -1, "x", 0.5):
        with pytest.raises(gr.Error, match="code must be"):
            put(kept, 1, 1, code)

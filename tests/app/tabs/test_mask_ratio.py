"""The tab Mask ratio, its handlers called directly, against a computation of our own."""

from __future__ import annotations

import base64
import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.services import mask_draws
from app.services.mask_draws import STEPS
from app.services.uploads import Picture
from app.tabs import mask_ratio
from core.analysis.mask_sweep import apply_mask, draw_tokens
from core.images import open_picture, to_tensor
from core.tokenizer import Tokenizer
from tests.app.ui.test_plot import values

NAME, PLAIN = "tiny-regvq", "tiny-vq"


def page_values(*asked: Any) -> tuple:
    """Return the three values that the page gets."""
    found = mask_ratio.show(*asked)
    return found["stage"], found["figures"], found["curve"]


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_points_of_the_curve_keep_no_picture(photograph: Path) -> None:
    """4,096 points would keep gigabytes of pictures that their visitors have left."""
    mask_draws.tab_view(str(photograph), NAME, 0.25, 1, 0)
    kept = [part for key in mask_draws._points for part in key]
    assert kept and not any(isinstance(part, Picture) for part in kept)


def test_the_page_gets_the_mask_the_changes_and_the_picture(
    photograph: Path, tokenizer: Tokenizer
) -> None:
    stage, panel, curve = page_values(str(photograph), NAME, 0.4, 1.5, 7)
    image = to_tensor(open_picture(photograph))
    draws = draw_tokens(tokenizer.quantizer, tokenizer.latents(image[None]), 1.5, 7)
    masked = apply_mask(draws, 0.4, 7)
    assert (stage["rows"], stage["columns"], stage["patch"]) == (10, 13, 8)
    state = array(stage["state"], "u1")
    np.testing.assert_array_equal(state > 0, masked.mask.ravel())
    np.testing.assert_array_equal(state == 2, masked.changed.ravel())
    np.testing.assert_array_equal(array(stage["drawn"], "<u4"), draws.drawn.ravel())
    np.testing.assert_array_equal(array(stage["best"], "<u4"), draws.best.ravel())
    np.testing.assert_allclose(array(stage["entropy"], "<f4"), draws.entropy.ravel(), rtol=1e-5)
    assert stage["top"] == pytest.approx(math.log2(60))
    shown = np.asarray(Image.open(stage["reconstruction"]["path"])).astype(float)
    original = np.asarray(open_picture(photograph)).astype(float)
    psnr = 10 * math.log10(255**2 / np.mean((shown - original) ** 2))
    assert f">{psnr:.2f}<" in panel and f"of {masked.mask.size} tokens" in panel
    assert f">{masked.changed.sum()}<" in panel
    # The known part of the curves: the points just computed, if they lie on the grid of ratios.
    psnrs, changes = curve["figure"]["data"]
    assert values(psnrs["x"]) == values(changes["x"]) == [0.0, 0.4]
    assert values(changes["y"])[1] == pytest.approx(100 * masked.changed.mean())
    assert values(psnrs["y"])[1] == pytest.approx(psnr, abs=1e-4)
    assert {shape["x0"] for shape in curve["figure"]["layout"]["shapes"]} == {0.4}
    assert curve["more"] == STEPS + 1 - 2


def test_the_curves_fill_in_until_they_are_complete(
    photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_draws, "BUDGET", 1e-9)  # a request computes at least one point
    seen = []
    for _ in range(STEPS + 2):
        curve = mask_ratio.more_of_curve(str(photograph), NAME, 0.3, 0.7, 1)
        seen.append(values(curve["figure"]["data"][0]["x"]))
        if not curve["more"]:
            break
    assert not curve["more"] and len(seen) > 5
    assert all(set(a) < set(b) for a, b in itertools.pairwise(seen))
    assert seen[-1] == [step / STEPS for step in range(STEPS + 1)]
    *_, figures = mask_ratio.mask_sweep(str(photograph), NAME, 1, 0.7)
    psnrs, changes = curve["figure"]["data"]
    assert values(psnrs["y"]) == figures["psnr"]
    assert values(changes["y"]) == pytest.approx([100 * one for one in figures["changed"]])
    assert figures["chart"]["data"][0]["y"] == psnrs["y"]


def test_a_sweep_as_an_api(photograph: Path) -> None:
    gallery, chart, figures = mask_ratio.mask_sweep(str(photograph), NAME)
    assert [caption.split(",")[0] for _, caption in gallery] == [
        f"ratio {ratio:g}" for ratio in mask_draws.SHOWN
    ]
    original = np.asarray(open_picture(photograph)).astype(float)
    for (path, _), ratio in zip(gallery, mask_draws.SHOWN, strict=True):
        apart = np.mean((np.asarray(Image.open(path)).astype(float) - original) ** 2)
        at = figures["ratio"].index(ratio)
        assert figures["psnr"][at] == pytest.approx(10 * math.log10(255**2 / apart), abs=1e-4)
    assert figures["changed"][0] == 0 and figures["drawn"][-1] == 1
    assert figures["changed"] == sorted(figures["changed"])  # nested masks of one draw
    assert len(Image.open(chart).convert("RGB").getcolors(10**6)) > 20  # axes, words, two curves


def test_a_quantizer_without_a_posterior_gets_a_sentence_and_an_offer(photograph: Path) -> None:
    stage, panel, curve = page_values(str(photograph), PLAIN, 0.4, 1, 0)
    assert stage["sentence"].startswith("tiny-vq always takes the best code")
    assert (stage["offer"], panel, curve["none"]) == (NAME, "", "")
    assert mask_ratio.choose_offer()["value"] == NAME
    with pytest.raises(gr.Error, match="no token distribution"):
        mask_ratio.mask_sweep(str(photograph), PLAIN)
    with pytest.raises(gr.Error, match="no token distribution"):
        mask_ratio.more_of_curve(str(photograph), PLAIN, 0.4, 1, 0)


def test_a_picture_that_cannot_be_read_gets_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n")
    stage, _, _ = page_values(str(broken), NAME, 0.4, 1, 0)
    assert "broken.png" in stage["sentence"] and "offer" not in stage


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((1.01, 1, 0), "mask ratio must be a number from 0 to 1"),
        ((math.nan, 1, 0), "mask ratio must be"),
        ((0.5, -0.1, 0), "temperature must be a number from 0 to 2"),
        ((0.5, None, 0), "temperature must be"),
        ((0.5, 1, 0.5), "seed must be a whole number"),
        ((0.5, 1, -1), "seed must be a number from 0"),
    ],
)
def test_settings_out_of_range_are_refused(photograph: Path, inputs: tuple, words: str) -> None:
    with pytest.raises(gr.Error, match=words):
        mask_ratio.show(str(photograph), NAME, *inputs)


def test_clicks_are_checked() -> None:
    assert mask_ratio.choose_ratio(SimpleNamespace(x=0.25)) == 0.25
    assert mask_ratio.select_code(NAME, SimpleNamespace(index=59)) == 59
    for value in (None, 2, "x"):
        with pytest.raises(gr.Error, match="mask ratio must be"):
            mask_ratio.choose_ratio(SimpleNamespace(x=value))
    for value in (None, 60, 1.5):
        with pytest.raises(gr.Error, match="code must be"):
            mask_ratio.select_code(NAME, SimpleNamespace(index=value))


def test_a_large_picture_is_shrunk(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("RGB", (900, 300), "teal").save(large)
    stage, _, _ = page_values(str(large), NAME, 0.5, 1, 0)
    assert (stage["width"], stage["height"]) == (mask_draws.SIDE, 128)

"""The tab Code map, its handlers called directly, against a computation of our own."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.services import checkpoints, embeddings, scene_counts
from app.services.code_stats import code_colors, dominant_classes, norms
from app.tabs import code_map
from core.analysis.atlas import add_umap
from core.analysis.embedding import pca_map
from core.analysis.real_patches import unpack_patches
from core.analysis.rendering import number_colors
from core.bundles.bundle import find_bundle
from core.data import open_dataset
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer

NAME = "tiny-regvq"


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Use the test's own cache folder, and forget the maps of other tests."""
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "cache"))
    embeddings._remembered.clear()
    yield tmp_path / "cache"
    embeddings._remembered.clear()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Replace UMAP by the first dimensions; return the axes and neighbors of each computed map."""
    made: list[tuple] = []

    def compute(
        codes: np.ndarray, axes: int, neighbors: int, *, uses: np.ndarray, progress=None
    ) -> np.ndarray:
        assert uses.shape == (len(codes),)
        made.append((axes, neighbors))
        progress(0.5, "half")
        return np.ascontiguousarray(codes[:, :axes], np.float32) * neighbors

    monkeypatch.setattr("core.analysis.embedding.umap_map", compute)
    return made


def test_the_page_gets_every_code(tokenizer: Tokenizer) -> None:
    chart = code_map.show(NAME)
    codes = tokenizer.quantizer.codebook().numpy()
    known = checkpoints.bundle(NAME).atlas
    np.testing.assert_array_equal(array(chart["pca"], "<f4").reshape(60, 3), pca_map(codes, 3))
    np.testing.assert_array_equal(array(chart["counts"], "<f8"), known["counts"])
    np.testing.assert_array_equal(array(chart["colors"], "u1").reshape(60, 3), known["mean_color"])
    lengths = np.sqrt((codes.astype(np.float64) ** 2).sum(axis=1))
    np.testing.assert_allclose(array(chart["norms"], "<f4"), lengths, rtol=1e-5)
    assert Image.open(chart["sprite"]["path"]).size == (64, 64) and chart["quick"] == []
    tiles, starts = unpack_patches(known)
    np.testing.assert_array_equal(array(chart["real"]["of"], "u1"), np.diff(starts))
    sheet = np.asarray(Image.open(chart["real"]["sheet"]["path"]).convert("RGB"))
    side = chart["real"]["side"]
    np.testing.assert_array_equal(sheet[:side, side : 2 * side], tiles[1])
    assert code_map.show("tiny-vq")["real"] is None
    assert code_map.show(NAME, "Codebook") == gr.skip()


def test_a_map_is_computed_once_and_kept_in_the_cache_folder(
    tokenizer: Tokenizer, drawn: list[tuple], cache: Path
) -> None:
    codes = tokenizer.quantizer.codebook().numpy()
    wish = SimpleNamespace(axes=2, neighbors=50)
    told: list[tuple] = []
    first = code_map.show_layout(NAME, wish, lambda share, desc: told.append((share, desc)))
    assert told == [(0.5, "half")]
    places = array(first["layout"]["places"], "<f4").reshape(60, 2)
    np.testing.assert_array_equal(places, codes[:, :2] * 50)
    assert code_map.show_layout(NAME, wish) == first and drawn == [(2, 50)]
    embeddings._remembered.clear()  # another process finds it on disk
    assert code_map.show_layout(NAME, wish) == first and drawn == [(2, 50)]
    kept = list(cache.rglob("*"))
    assert [path.suffix for path in kept if path.is_file()] == [".npy"]
    # A broken file is computed again.
    embeddings._remembered.clear()
    next(path for path in kept if path.is_file()).write_bytes(b"no array")
    assert code_map.show_layout(NAME, wish) == first and drawn == [(2, 50)] * 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    drawn: list[tuple], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "file"))
    assert code_map.show_layout(NAME, SimpleNamespace(axes=3, neighbors=5))["layout"]["axes"] == 3
    assert drawn == [(3, 5)]


def test_a_bundles_own_maps_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path, drawn: list[tuple]
) -> None:
    import shutil

    monkeypatch.setattr(
        "core.analysis.embedding.umap_map",
        lambda codes, axes: np.full((60, axes), axes, np.float32),
    )
    shutil.copytree(bundles / NAME, tmp_path / "own" / NAME)
    add_umap(tmp_path / "own" / NAME)
    before, after = find_bundle(bundles / NAME).atlas, find_bundle(tmp_path / "own" / NAME).atlas
    assert set(after) == {*before, "umap2", "umap3"}
    np.testing.assert_array_equal(after["counts"], before["counts"])
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path / "own"))
    monkeypatch.setattr(
        "core.analysis.embedding.umap_map", lambda *_, **__: pytest.fail("computed")
    )
    checkpoints._open.cache_clear()
    try:
        assert code_map.show(NAME)["quick"] == [2, 3]
        *_, figures = code_map.code_map(NAME, axes=3)
        assert figures["z"] == [3.0] * 60
    finally:
        checkpoints._open.cache_clear()


def test_the_api_returns_a_plot_and_the_places(drawn: list[tuple], tokenizer: Tokenizer) -> None:
    plot, figures = code_map.code_map(NAME, "pca", "mean")
    places = pca_map(tokenizer.quantizer.codebook(), 2)
    np.testing.assert_array_equal(np.stack([figures["x"], figures["y"]], 1), places)
    assert figures["dead"] == 3 and "neighbours" not in figures and drawn == []
    pixels = np.array([color for _, color in Image.open(plot).getcolors(10**6)], np.int16)
    colors = checkpoints.bundle(NAME).atlas["mean_color"].astype(np.int16)
    shown = [bool((np.abs(pixels - color).max(axis=1) <= 2).any()) for color in colors]
    assert sum(shown) > 45  # of 60; some are below others
    _, figures = code_map.code_map(NAME, colour="usage", axes=3, neighbours=5)
    assert drawn == [(3, 5)] and len(figures["z"]) == 60 and figures["neighbours"] == 5


def test_codes_in_the_colors_of_their_classes(tokenizer: Tokenizer) -> None:
    most, names, palette = dominant_classes(checkpoints.open_tokenizer(NAME))
    scenes = open_dataset("scenes", size=64, seed=0, split="test")
    pixels = np.zeros((60, len(names)), np.int64)
    for index in range(scene_counts.SCENES):
        ids = tokenizer.encode(scenes[index].image[None])[0].numpy().repeat(8, 0).repeat(8, 1)
        np.add.at(pixels, (ids, scenes[index].segmentation.numpy()), 1)
    assert names == list(scenes.classes)
    for code in range(60):
        if pixels[code].any():
            assert pixels[code, most[code]] == pixels[code].max()
        else:
            assert most[code] == -1
    colors = code_colors(checkpoints.open_tokenizer(NAME), "class")
    np.testing.assert_array_equal(colors[most >= 0], palette[most[most >= 0]])
    assert (colors[most < 0] == 90).all()
    value = code_map.show_classes(NAME)["classes"]
    np.testing.assert_array_equal(array(value["of"], "u1"), np.where(most < 0, 255, most))
    assert value["colors"] == number_colors(len(names)).tolist()


def test_usage_and_norm_are_brighter_for_more(tokenizer: Tokenizer) -> None:
    light = np.array([0.2126, 0.7152, 0.0722])
    counts = checkpoints.bundle(NAME).atlas["counts"]
    alive = counts > 0
    for color, value in (("usage", counts), ("norm", norms(checkpoints.open_tokenizer(NAME)))):
        shade = code_colors(checkpoints.open_tokenizer(NAME), color) @ light
        order = np.argsort(value[alive], kind="stable")
        assert (np.diff(shade[alive][order]) >= -1).all()
    assert (code_colors(checkpoints.open_tokenizer(NAME), "usage")[~alive] == 90).all()


def test_the_selected_code_gets_its_card(photograph: Path) -> None:
    code, card = code_map.select_code(NAME, str(photograph), SimpleNamespace(index=41))
    assert code == card["code"] == 41 and card["source"] == "a test's pictures"
    assert code_map.show_code(NAME, 41, str(photograph))[0] == 41
    assert code_map.show_code(NAME, 41, str(photograph), "Codebook") == (gr.skip(), gr.skip())
    with pytest.raises(gr.Error, match="code must be"):
        code_map.select_code(NAME, str(photograph), SimpleNamespace(index=60))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((NAME, "tsne"), "method must be one of umap, pca, not 'tsne'"),
        ((NAME, "pca", "taste"), "color must be one of usage, mean, norm, class"),
        ((NAME, "pca", "mean", 4), "number of axes must be a number from 2 to 3"),
        ((NAME, "umap", "mean", 2, 7), "number of neighbors must be one of 5, 15, 50"),
        (("../x", "pca"), "no checkpoint called"),
    ],
)
def test_wrong_settings_are_refused(inputs: tuple, words: str) -> None:
    with pytest.raises(gr.Error, match=words):
        code_map.code_map(*inputs)


def test_too_few_codes_for_a_umap_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from core.tokenizer import TokenizerConfig
    from tests.app.conftest import NETWORK

    few = Tokenizer(TokenizerConfig(NETWORK, VQConfig(size=5))).eval()
    few.save_pretrained(tmp_path / "few")
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    with pytest.raises(gr.Error, match="needs 8 codes or more; this codebook has 5"):
        code_map.code_map("few")
    *_, figures = code_map.code_map("few", "pca")
    assert len(figures["x"]) == 5
    with pytest.warns(UserWarning, match="needs 8 codes"):  # on a page, a message
        found = code_map.show_layout("few", SimpleNamespace(axes=2, neighbors=15))
    assert found == {"checkpoint": "few", "refused": True}

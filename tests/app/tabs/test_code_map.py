"""The tab Code map, its handlers called directly, against a computation of our own."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.services import checkpoints, code_selection, embeddings, scene_counts
from app.services.code_map import coloring_of
from app.services.code_stats import dominant_classes
from app.services.windows import codes_within, parse_window
from app.tabs import code_map
from core.analysis.atlas import add_umap
from core.analysis.embedding import pca_map
from core.analysis.real_patches import unpack_patches
from core.analysis.rendering import number_colors
from core.bundles.bundle import find_bundle
from core.data import open_dataset
from core.plots.coloring import DEAD
from core.plots.windows import whole_window
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer
from tests.app.ui.test_plot import values

NAME = "tiny-regvq"


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


def shown(checkpoint: str = NAME, **changed: Any) -> dict[str, Any]:
    """Return the page's chart."""
    return code_map.show(*asked(checkpoint, **changed).values())[0]


def asked(checkpoint: str = NAME, **changed: Any) -> dict[str, Any]:
    """Return the inputs of the page's chart."""
    inputs = {"layout": "pca", "axes": 2, "color": "usage", "marks": "dots", "code": 7}
    return {"checkpoint": checkpoint, **inputs, "selection": None, **changed}


def marks_of(value: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the marks of a chart by code, and the rows of its table."""
    trace = value["figure"]["data"][0]
    rows = np.array(values(trace["customdata"]))
    order = np.argsort(rows[:, 0])
    places = np.stack([values(trace[axis]) for axis in "xyz" if axis in trace], 1)
    return places[order], rows[order]


def picture_of(value: dict[str, Any]) -> np.ndarray:
    source = value["figure"]["layout"]["images"][0]["source"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))))


def test_the_page_gets_every_code(tokenizer: Tokenizer) -> None:
    value = shown()
    codes = tokenizer.quantizer.codebook().numpy()
    known = checkpoints.bundle(NAME).atlas
    places, rows = marks_of(value)
    np.testing.assert_allclose(places, pca_map(codes, 2), rtol=1e-6)
    np.testing.assert_array_equal(rows[:, 0], np.arange(60))
    np.testing.assert_array_equal(rows[:, 1], known["counts"])
    np.testing.assert_allclose(rows[:, 2], 100 * known["counts"] / known["counts"].sum())
    ranks = [1 + (known["counts"] > count).sum() for count in known["counts"]]
    np.testing.assert_array_equal(rows[:, 3], ranks)
    lengths = np.sqrt((codes.astype(np.float64) ** 2).sum(axis=1))
    np.testing.assert_allclose(rows[:, 4], lengths, rtol=1e-5)
    ring = value["figure"]["data"][-1]
    assert ring["name"] == "code 7" and (ring["x"][0], ring["y"][0]) == tuple(places[7])
    assert set(value["listens"]) == {"pick", "view", "select", "tile"}
    assert np.array_equal(marks_of(shown(axes=3))[0], pca_map(codes, 3)[:, :3])


def test_a_window_holds_its_codes_in_a_picture_of_its_own(tokenizer: Tokenizer) -> None:
    places = pca_map(tokenizer.quantizer.codebook().numpy(), 2)
    (left, low), (right, high) = np.quantile(places, [0.3, 0.7], axis=0)
    window = SimpleNamespace(x=[left, right], y=[low, high], width=300, height=200)
    value = code_map.show_view(*asked(marks="tiles").values(), window)
    inside = parse_window(window).holds(places)
    np.testing.assert_array_equal(marks_of(value)[1][:, 0], np.flatnonzero(inside))
    assert picture_of(value).shape == (280, 420, 3)  # with a fifth more at each side
    assert value["exact"] and value["figure"]["layout"]["meta"]["marks"] == "tiles"
    for wrong in ({"x": [1, 1]}, {"y": None}, {"width": 0}, {"height": 10**6}, {"x": ["a", 2]},
                  {"x": [-1e308, 1e308]}):  # fmt: skip
        broken = SimpleNamespace(**{**vars(window), **wrong})
        with pytest.raises(gr.Error, match="must be"):
            code_map.show_view(*asked().values(), broken)


def test_a_lasso_selects_by_a_polygon_and_dims_the_others(tokenizer: Tokenizer) -> None:
    places = pca_map(tokenizer.quantizer.codebook().numpy(), 2)
    window = whole_window(places.astype(float))
    middle = np.median(places, axis=0).tolist()
    # Left of the median, by a polygon around that half.
    half = [[window.left, window.bottom], [middle[0], window.bottom], [middle[0], window.top],
            [window.left, window.top]]  # fmt: skip
    view = {"x": [window.left, window.right], "y": [window.bottom, window.top]}
    event = SimpleNamespace(polygon=half, width=400, height=300, **view)
    selection, group, value = code_map.select(*asked().values(), event)
    inside = np.flatnonzero(places[:, 0] < middle[0])
    counts = checkpoints.bundle(NAME).atlas["counts"]
    assert sorted(selection.codes) == inside.tolist()
    assert (np.diff(counts[selection.codes]) <= 0).all()
    assert value["figure"]["layout"]["meta"]["chosen"] == group["total"] == len(inside)
    plain = code_map.show_view(*asked().values(), event)
    assert picture_of(value).astype(int).sum() < picture_of(plain).astype(int).sum()
    # A concave polygon: the even-odd rule.
    star = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]]
    points = np.array([[2.0, 0.5], [2.0, 3.0], [0.5, 1.0], [5.0, 1.0]], np.float32)
    assert codes_within(points, star).tolist() == [0, 2]
    # Nothing inside, or no polygon: no selection.
    event.polygon = [[90, 90], [91, 90], [91, 91]]
    assert code_map.select(*asked().values(), event)[0] is None
    del event.polygon
    chosen, group, _ = code_map.select(*asked(selection=selection).values(), event)
    assert chosen is None and group["total"] == 0
    for wrong in ([[0, 0]], "x", [[0, 0], [1, None], [1, 1]], [[0, 0]] * 401):
        with pytest.raises(gr.Error, match="selection"):
            code_map.select(*asked().values(), SimpleNamespace(polygon=wrong))


def test_a_selections_tiles_and_patches_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_selection, "SHOWN", 8)
    known = checkpoints.bundle(NAME).atlas
    tiles, starts = unpack_patches(known)
    selection = code_selection.select(NAME, np.arange(20))
    first = code_map.code_group.show_group(NAME, selection, SimpleNamespace(page=0, view="tiles"))
    assert (first["pages"], first["of"], first["total"]) == (3, 20, 20)
    assert first["codes"] == selection.codes[:8].tolist()
    sheet = np.asarray(Image.open(first["sheet"]["path"]))
    np.testing.assert_array_equal(sheet[:8, 8:16], known["paints"][first["codes"][1]])
    packed = np.frombuffer(base64.b64decode(first["list"]["codes"]), "<u4")
    np.testing.assert_array_equal(packed, selection.codes)
    last = code_map.code_group.show_group(NAME, selection, SimpleNamespace(page=2, view="tiles"))
    assert last["codes"] == selection.codes[16:].tolist() and "list" not in last
    real = code_map.code_group.show_group(NAME, selection, SimpleNamespace(page=0, view="real"))
    having = [code for code in selection.codes if starts[code + 1] > starts[code]]
    assert real["codes"] == having[:8] and real["of"] == len(having)
    side = tiles.shape[1]
    sheet = np.asarray(Image.open(real["sheet"]["path"]))
    np.testing.assert_array_equal(sheet[:side, :side], tiles[starts[having[0]]])
    with pytest.raises(gr.Error, match="page must be"):
        code_map.code_group.show_group(NAME, selection, SimpleNamespace(page=9, view="tiles"))
    # The selection of another checkpoint is not this one's.
    assert code_selection.group_view("tiny-vq", selection)["total"] == 0


def test_the_tile_under_the_pointer() -> None:
    tile = code_map.code_group.show_tile(NAME, SimpleNamespace(code=9))["tile"]
    data = base64.b64decode(tile["source"].split(",", 1)[1])
    paints = checkpoints.bundle(NAME).atlas["paints"]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), paints[9])
    with pytest.raises(gr.Error, match="code must be"):
        code_map.code_group.show_tile(NAME, SimpleNamespace(code=60))


def test_a_map_is_computed_once_and_kept_in_the_cache_folder(
    tokenizer: Tokenizer, drawn: list[tuple], cache: Path
) -> None:
    codes = tokenizer.quantizer.codebook().numpy()
    wish = asked(layout="umap-50").values()
    told: list[tuple] = []
    value, _ = code_map.show(*wish, lambda share, desc: told.append((share, desc)))
    assert told == [(0.5, "half")]
    np.testing.assert_array_equal(marks_of(value)[0], codes[:, :2] * 50)
    code_map.show(*wish)
    assert drawn == [(2, 50)]
    embeddings._remembered.clear()  # another process finds it on disk
    np.testing.assert_array_equal(marks_of(code_map.show(*wish)[0])[0], codes[:, :2] * 50)
    assert drawn == [(2, 50)]
    kept = list(cache.rglob("*"))
    assert [path.suffix for path in kept if path.is_file()] == [".npy"]
    # A broken file is computed again.
    embeddings._remembered.clear()
    next(path for path in kept if path.is_file()).write_bytes(b"no array")
    code_map.show(*wish)
    assert drawn == [(2, 50)] * 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    drawn: list[tuple], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "file"))
    assert marks_of(shown(axes=3, layout="umap-5"))[0].shape == (60, 3)
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
        assert np.array_equal(marks_of(shown(layout="umap"))[0], np.full((60, 2), 2))
        *_, figures = code_map.code_map(NAME, axes=3)
        assert figures["z"] == [3.0] * 60
    finally:
        checkpoints._open.cache_clear()


def test_the_api_returns_a_plot_and_the_places(drawn: list[tuple], tokenizer: Tokenizer) -> None:
    plot, figures = code_map.code_map(NAME, "pca", "mean")
    places = pca_map(tokenizer.quantizer.codebook(), 2)
    np.testing.assert_array_equal(np.stack([figures["x"], figures["y"]], 1), places)
    assert figures["dead"] == 3 and "neighbours" not in figures and drawn == []
    assert sorted(values(figures["chart"]["data"][0]["x"])) == sorted(figures["x"])
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
    coloring = coloring_of(checkpoints.open_tokenizer(NAME), "class")
    np.testing.assert_array_equal(coloring.colors[most >= 0], palette[most[most >= 0]])
    assert (coloring.colors[most < 0] == DEAD).all()
    found = {name.rsplit(" ", 1)[0]: color for name, color in coloring.classes.items()}
    assert set(found) == {names[one] for one in set(most[most >= 0])}
    assert all(
        found[names[one]] == tuple(number_colors(len(names))[one]) for one in most[most >= 0]
    )
    legend = [one for one in shown(color="class")["figure"]["data"] if one.get("showlegend")]
    assert [one["name"] for one in legend] == list(coloring.classes)
    assert all(one["visible"] is True for one in legend)


def test_the_legend_hides_classes(tokenizer: Tokenizer) -> None:
    most, names, _ = dominant_classes(checkpoints.open_tokenizer(NAME))
    classes = list(coloring_of(checkpoints.open_tokenizer(NAME), "class").classes)
    away = [most == names.index(name.rsplit(" ", 1)[0]) for name in classes[:2]]
    places = pca_map(tokenizer.quantizer.codebook().numpy(), 2)
    window = whole_window(places.astype(float))
    sides = {"x": [window.left, window.right], "y": [window.bottom, window.top]}
    event = SimpleNamespace(**sides, width=400, height=300, hidden=[*classes[:2], "unknown"])
    kept = np.flatnonzero(~(away[0] | away[1]))
    assert 0 < len(kept) < 60
    for axes in (2, 3):
        value = code_map.show_view(*asked(color="class", axes=axes).values(), event)
        np.testing.assert_array_equal(marks_of(value)[1][:, 0], kept)
        legend = [one for one in value["figure"]["data"] if one.get("showlegend")]
        assert [one["visible"] for one in legend[:3]] == ["legendonly", "legendonly", True]
        assert f"{60 - len(kept)} codes of the classes that the legend hides" in value["note"]
    # A lasso takes only codes that are shown.
    left, right, low, high = window.left, window.right, window.bottom, window.top
    event.polygon = [[left, low], [right, low], [right, high], [left, high]]
    selection = code_map.select(*asked(color="class").values(), event)[0]
    assert sorted(selection.codes) == kept.tolist()
    # In other colors nothing is hidden.
    assert len(marks_of(code_map.show_view(*asked().values(), event))[1]) == 60
    for wrong in ("tree", [1], ["tree"] * 501):
        event.hidden = wrong
        with pytest.raises(gr.Error, match="classes must be"):
            code_map.show_view(*asked(color="class").values(), event)


def test_the_selected_code_gets_its_card(photograph: Path) -> None:
    code, card = code_map.select_code(NAME, str(photograph), SimpleNamespace(index=41))
    assert code == card["code"] == 41 and card["source"] == "a test's pictures"
    assert code_map.show_code(NAME, 41, str(photograph))[0] == 41
    with pytest.raises(gr.Error, match="code must be"):
        code_map.select_code(NAME, str(photograph), SimpleNamespace(index=60))


def test_an_unreadable_picture_leaves_map_and_cards(broken: Path, warned: list[str]) -> None:
    """The map is drawn only after the selected code: codes are shown in an example instead."""
    code, card = code_map.show_code(NAME, None, str(broken))
    (words,) = warned
    assert words.startswith("list.jpg is not a picture") and words.endswith("an example instead.")
    assert (code, card) == code_map.show_code(NAME, None, None)  # the first example
    assert marks_of(shown(code=code))[1].shape[0] == 60
    # A click gets its card, without the same words again.
    assert code_map.select_code(NAME, str(broken), SimpleNamespace(index=41))[0] == 41
    assert len(warned) == 1


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
        value, layout = code_map.show(*asked("few", layout="umap").values())
    assert layout["value"] == "pca" and len(marks_of(value)[0]) == 5


def test_pca_says_how_much_of_the_variance_each_axis_explains(tokenizer: Tokenizer) -> None:
    codes = tokenizer.quantizer.codebook().numpy().astype(np.float64)
    variances = np.linalg.eigvalsh(np.cov(codes.T))[::-1]
    shares = variances / variances.sum()
    figures = code_map.code_map(NAME, "pca", "usage", 2)[1]
    np.testing.assert_allclose(figures["explained"], shares[:2], rtol=1e-4)
    assert f"The 3 axes explain {100 * shares[:3].sum():.2g} %" in shown(axes=3)["note"]

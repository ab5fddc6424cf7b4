"""Maps of codes: the picture of the window, and the marks above it."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from core import plots
from core.paths import ROOT
from core.plots.code_map import CodeMap, map_figure, space_figure
from core.plots.coloring import Coloring, by_norm, by_usage
from core.plots.windows import (
    GROUND,
    MOST_MARKS,
    Window,
    draw_cells,
    draw_dots,
    draw_tiles,
    whole_window,
)

BUNDLE = ROOT / "checkpoints" / "photos-regvq"


def some_map(count: int) -> CodeMap:
    draw = np.random.default_rng(0)
    places = draw.normal(size=(count, 2)).astype(np.float32)
    counts = draw.integers(0, 1000, count)
    colors = draw.integers(0, 255, (count, 3)).astype(np.uint8)
    return CodeMap(places, counts, np.ones(count, np.float32), Coloring(colors))


def picture_of(figure: object) -> np.ndarray:
    data = base64.b64decode(figure.layout.images[0].source.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_dots_have_their_place_and_color_and_later_ones_are_above() -> None:
    window = Window(0, 10, 0, 5, 100, 50)
    places = np.array([[2.55, 2.55], [7.55, 1.05], [7.55, 1.05]])
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    faint = np.array([True, False, False])
    picture = draw_dots(window, places, colors, 3, None)
    assert tuple(picture[24, 25]) == (255, 0, 0)  # 5 - 2.55 from the top, 10 pixels per unit
    assert tuple(picture[39, 75]) == (0, 0, 255) and tuple(picture[5, 5]) == GROUND
    assert (picture.astype(int).sum(-1) != sum(GROUND)).sum() < 2 * 50
    dark = draw_dots(window, places, colors, 3, faint)
    assert dark[24, 25, 0] < 80 and tuple(dark[39, 75]) == (0, 0, 255)


def test_tiles_are_drawn_without_smoothing() -> None:
    window = Window(0, 10, 0, 5, 100, 50)
    tile = np.zeros((1, 2, 2, 3), np.uint8)
    tile[0, 0, 0] = 255
    picture = draw_tiles(window, np.array([[5.0, 2.5]]), tile, 10, None)
    assert (picture[20:25, 45:50] == 255).all() and (picture[25:30, 45:55] == 0).all()
    at_the_edge = draw_tiles(window, np.array([[10.0, 5.0]]), tile, 10, None)
    assert (at_the_edge[:5, 95:] == 0).all()


def test_cells_show_their_codes_and_cross_dead_ones_out() -> None:
    code_at = np.array([2, 0, 1])
    faces = np.array([[10, 0, 0], [20, 0, 0], [30, 0, 0]], np.uint8)
    window = Window(0, 2, -2, 0, 40, 40)
    dead = np.array([False, True, False])
    picture = draw_cells(window, code_at, 2, faces, dead)
    assert picture[10, 10, 0] == 30 and picture[10, 30, 0] == 10
    assert tuple(picture[30, 30]) == GROUND  # no fourth code
    cross = picture[20:40, :20]
    assert (cross == (109, 118, 131)).all(-1).any() and not (cross == (20, 0, 0)).all(-1).any()
    tiles = np.repeat(faces[:, None, None], 4, 1).repeat(4, 2)
    np.testing.assert_array_equal(
        draw_cells(window, code_at, 2, tiles, np.zeros(3, bool))[10, 10], (30, 0, 0)
    )


def test_marks_are_those_of_the_window_used_most() -> None:
    shown = some_map(20_000)
    figure = map_figure(shown, whole_window(shown.places))
    marks = figure.data[0]
    assert len(marks.x) == MOST_MARKS and figure.layout.meta["inside"] == 20_000
    codes = np.array(marks.customdata)[:, 0].astype(int)
    most = np.sort(shown.counts)[::-1][:MOST_MARKS]
    np.testing.assert_array_equal(np.sort(shown.counts[codes])[::-1], most)
    np.testing.assert_array_equal(np.stack([marks.x, marks.y], 1), shown.places[codes])
    closer = map_figure(shown, Window(0, 0.2, 0, 0.2, 300, 300), zoom=20)
    inside = ((shown.places >= 0) & (shown.places <= 0.2)).all(axis=1)
    assert len(closer.data[0].x) == inside.sum() == closer.layout.meta["inside"]
    assert picture_of(closer).shape == (300, 300, 3)


def test_a_selection_darkens_the_others() -> None:
    shown = some_map(100)
    chosen = np.zeros(100, bool)
    whole = whole_window(shown.places)
    plain = picture_of(map_figure(shown, whole)).astype(int).sum()
    dark = picture_of(map_figure(shown, whole, chosen=chosen)).astype(int).sum()
    assert dark < plain


def test_the_picked_code_has_a_ring_at_its_place() -> None:
    shown = some_map(50)
    figure = map_figure(shown, whole_window(shown.places), picked=7)
    ring = figure.data[-1]
    assert ring.name == "code 7" and (ring.x[0], ring.y[0]) == tuple(shown.places[7])
    deep = np.pad(shown.places, ((0, 0), (0, 1)))
    space = CodeMap(deep, shown.counts, shown.norms, shown.coloring)
    assert [one.type for one in space_figure(space, 7).data] == ["scatter3d", "scatter3d"]


def test_colorings_are_brighter_for_more() -> None:
    light = np.array([0.2126, 0.7152, 0.0722])
    counts = np.array([0, 1, 10, 100, 1000])
    shade = by_usage(counts).colors @ light
    assert (np.diff(shade[1:]) > 0).all() and tuple(by_usage(counts).colors[0]) == (104, 112, 124)
    assert (np.diff(by_norm(np.array([1.0, 2.0, 3.0])).colors @ light) > 0).all()


def test_the_map_of_a_bundle() -> None:
    atlas = np.load(BUNDLE / "atlas.npz")
    figure = plots.plot_code_map(BUNDLE, marks="tiles")
    marks = figure.data[0]
    assert not any(one.marker.showscale for one in figure.data)  # tiles have no scale of colors
    assert any(one.marker.showscale for one in plots.plot_code_map(BUNDLE).data)
    codes = np.array(marks.customdata)[:, 0].astype(int)
    np.testing.assert_allclose(np.stack([marks.x, marks.y], 1), atlas["umap2"][codes], rtol=1e-6)
    np.testing.assert_array_equal(np.array(marks.customdata)[:, 1], atlas["counts"][codes])
    assert plots.plot_code_map(BUNDLE, "pca", "mean", axes=3).data[0].type == "scatter3d"

"""Codes that are painted when somebody looks at them, kept in the cache, and finished in quiet
moments."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from app.services import (
    checkpoints,
    code_atlas,
    code_stats,
    idle,
    painting,
    scene_counts,
)
from app.services.checkpoints import TokenizerHandle
from app.services.code_atlas import CodeAtlas
from app.services.codebook_chart import codebook_chart
from app.services.idle import RequestMonitor
from app.services.model_lock import LOCK, ModelLock
from app.services.painting import Painter
from app.services.tile_file import TileFile
from app.tabs import codebook
from core.analysis import codes as core_codes
from core.analysis.arrangement import grid_layout, paint_features
from core.analysis.atlas import build_atlas, mean_colors
from core.analysis.codes import paint_codes
from core.analysis.counts import count_codes
from core.bundles.bundle import Bundle
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.app.ui.test_plot import values

SIZE = 200
F = 4
TOKENS = (64 // F) ** 2
"""The tokens of a scene, which has 64 x 64 pixels in these tests."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a tokenizer's bundle without an atlas, of more codes than are painted at once."""
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=SIZE))).eval()
    return tokenizer.save_pretrained(tmp_path_factory.mktemp("large") / "large")


@pytest.fixture
def handle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[TokenizerHandle]:
    """Yield the checkpoint as after a start of the server, with an empty cache folder."""
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(bundle.path))
    monkeypatch.setattr(painting.PAINTER, "want", lambda atlas: None)
    monkeypatch.setattr(scene_counts, "SCENES", 6)
    restart()
    yield checkpoints.open_tokenizer("large")
    restart()


def restart() -> None:
    """Forget what this process knows of checkpoints."""
    code_stats._atlases.clear()
    scene_counts._code_counts.clear()


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the codes are added that are painted from now on."""
    done: list[int] = []

    def paint(
        tokenizer: Tokenizer, ids: np.ndarray, *rest: object, **options: object
    ) -> np.ndarray:
        done.extend(np.asarray(ids).tolist())
        return paint_codes(tokenizer, ids, *rest, **options)

    monkeypatch.setattr(core_codes, "paint_codes", paint)
    return done


def finish(atlas: CodeAtlas) -> None:
    for _ in range(1000):
        if atlas.finished:
            return
        atlas.work()
    raise AssertionError("the work does not end")


def test_only_codes_that_are_looked_at_are_painted(
    handle: TokenizerHandle, painted: list[int]
) -> None:
    atlas = code_stats.atlas(handle)
    assert not painted
    tiles = atlas.look([5, 150, 5])
    assert painted == [5, 150]
    np.testing.assert_array_equal(tiles, paint_codes(handle.tokenizer, [5, 150, 5]))
    atlas.look([150, 7])
    assert painted == [5, 150, 7]
    assert np.flatnonzero(atlas.painted).tolist() == [5, 7, 150]
    assert (atlas.colors[6] == code_atlas.UNKNOWN).all()
    assert atlas.progress()["painted"] == 3 and not atlas.complete


def test_painting_stops_when_the_time_is_over(handle: TokenizerHandle) -> None:
    atlas = code_stats.atlas(handle)
    atlas.look(range(SIZE), seconds=0)
    assert not atlas.painted.any()
    atlas.look(range(SIZE), seconds=1e-6)
    assert 0 < atlas.painted.sum() < SIZE  # one batch


def test_a_restart_repeats_nothing(
    handle: TokenizerHandle, painted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = code_stats.atlas(handle)
    before = atlas.look([5, 150])
    restart()
    painted.clear()
    atlas = code_stats.atlas(handle)
    assert atlas.painted.sum() == 2 and atlas.progress()["painted"] == 2
    np.testing.assert_array_equal(atlas.look([5, 150]), before)
    assert not painted
    finish(atlas)
    everything = atlas.tiles.copy(), atlas.colors.copy(), atlas.counts, atlas.alike()
    restart()
    painted.clear()
    for work in ("arrangement.grid_layout", "counts.count_codes"):
        monkeypatch.setattr(f"core.analysis.{work}", lambda *_, **__: 1 / 0)
    again = code_stats.atlas(handle)
    again.alike()
    assert again.finished and not painted
    for one, two in zip(
        everything, (again.tiles, again.colors, again.counts, again.alike()), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_a_finished_atlas_equals_one_that_was_computed_at_once(handle: TokenizerHandle) -> None:
    atlas = code_stats.atlas(handle)
    finish(atlas)
    paints = paint_codes(handle.tokenizer)
    np.testing.assert_array_equal(atlas.tiles, paints)
    np.testing.assert_array_equal(atlas.colors, mean_colors(paints))
    cells = grid_layout(paint_features(paints), 15)
    np.testing.assert_array_equal(atlas.alike(), cells.argsort())
    counts = count_codes(handle.tokenizer, scene_counts.scenes(), batch=4)
    assert atlas.counts.tolist() == counts.tolist()
    assert atlas.source.startswith("6 drawn scenes")


def test_codes_in_use_are_painted_before_dead_ones(
    handle: TokenizerHandle, painted: list[int]
) -> None:
    atlas = code_stats.atlas(handle)
    finish(atlas)
    used = int((atlas.counts > 0).sum())
    assert 0 < used < SIZE
    assert set(painted[:used]) == set(np.flatnonzero(atlas.counts).tolist())


def test_uses_are_counted_scene_by_scene(handle: TokenizerHandle) -> None:
    atlas = code_stats.atlas(handle)
    first = atlas.counts
    assert atlas.source.startswith("the first 4 of 6 drawn scenes")
    assert first.sum() == 4 * TOKENS
    atlas.work()
    assert atlas.counts.sum() == 6 * TOKENS


def test_until_all_are_painted_codes_are_arranged_by_their_vectors(handle: TokenizerHandle) -> None:
    atlas = code_stats.atlas(handle)
    order = atlas.alike()
    assert sorted(order) == list(range(SIZE)) and not atlas.arranged
    codes = handle.tokenizer.quantizer.codebook().numpy()
    steps = np.linalg.norm(codes[order[1:]] - codes[order[:-1]], axis=1).mean()
    shuffled = codes[np.random.default_rng(0).permutation(SIZE)]
    assert steps < 0.9 * np.linalg.norm(np.diff(shuffled, axis=0), axis=1).mean()


def test_counts_of_a_bundle_without_tiles_are_its_own(
    handle: TokenizerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.analysis.atlas.LARGEST", SIZE - 1)
    monkeypatch.setattr("core.analysis.counts.count_codes", lambda *_, **__: 1 / 0)
    known = build_atlas(handle.tokenizer, counts=np.arange(SIZE), source="elsewhere")
    handle.tokenizer.save_pretrained(tmp_path / "counted", atlas=known)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path / "counted"))
    *_, figures = codebook_chart("counted", "bundle", None, "usage", "alike")
    assert figures["source"] == "elsewhere" and figures["used"] == SIZE - 1
    progress = code_stats.atlas(checkpoints.open_tokenizer("counted")).progress()
    assert progress["scenes"] == 0 and progress["painted"] == 0
    atlas = code_stats.atlas(checkpoints.open_tokenizer("counted"))
    finish(atlas)
    np.testing.assert_array_equal(atlas.tiles, paint_codes(handle.tokenizer))


# ---------------------------------------------------------------- the file


def test_a_damaged_file_loses_only_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "atlas" / "some.tiles"
    tiles = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), np.uint8)
    file = TileFile(path, 10, 2)
    file.append(np.array([3, 1]), tiles[:2])
    file.append(np.array([7, 9]), tiles[2:])
    whole = path.read_bytes()
    record = len(whole) // 4
    for data, kept in (
        (whole[: 3 * record + 5], [3, 1, 7]),  # the server was stopped while it wrote
        (whole[:record] + b"\xff" + whole[record + 1 :], [3, 7, 9]),
        (whole[: 2 * record + 9] + b"\0" + whole[2 * record + 10 :], [3, 1, 9]),
    ):
        path.write_bytes(data)
        codes, found = TileFile(path, 10, 2).read()
        assert codes.tolist() == kept
        np.testing.assert_array_equal(found, tiles[[[3, 1, 7, 9].index(code) for code in kept]])
        TileFile(path, 10, 2).append(np.array([5]), tiles[:1])  # after whole records again
        assert TileFile(path, 10, 2).read()[0].tolist() == [*kept, 5]
    path.write_bytes(whole)
    assert TileFile(path, 8, 2).read()[0].tolist() == [3, 1, 7]  # a code beyond the codebook


def test_a_cache_that_cannot_be_written_stops_nothing(
    handle: TokenizerHandle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    atlas = code_stats.atlas(handle)
    finish(atlas)
    np.testing.assert_array_equal(atlas.tiles, paint_codes(handle.tokenizer))
    assert sum("cannot be stored" in line for line in caplog.messages) == 1


# ---------------------------------------------------------------- quiet moments


def waited(condition: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> RequestMonitor:
    monitor = RequestMonitor()
    monkeypatch.setattr(idle, "REQUESTS", monitor)
    monkeypatch.setattr(painting, "LOOK", 0.1)
    monkeypatch.setattr(painting, "QUIET", 0.05)
    return monitor


def test_the_painter_finishes_an_atlas_and_ends(
    handle: TokenizerHandle, requests: RequestMonitor
) -> None:
    atlas, painter = CodeAtlas(handle), Painter()
    painter.want(atlas)
    assert waited(lambda: atlas.finished)
    assert waited(lambda: painter._thread is None)
    painter.want(atlas)
    assert painter._thread is None  # nothing is left to do


def test_the_painter_waits_while_a_request_runs(
    handle: TokenizerHandle, requests: RequestMonitor
) -> None:
    atlas, painter = CodeAtlas(handle), Painter()
    requests.begin()
    painter.want(atlas)
    time.sleep(0.5)  # longer than the monitor's longest wait
    assert atlas.progress()["painted"] == atlas.progress()["counted"] == 0
    requests.end()
    assert waited(lambda: atlas.finished)


def test_the_painter_waits_while_a_model_is_wanted(
    handle: TokenizerHandle, requests: RequestMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas, painter = CodeAtlas(handle), Painter()
    pieces: list[bool] = []
    monkeypatch.setattr(atlas, "work", lambda: pieces.append(LOCK.wanted))
    job = threading.Thread(target=lambda: LOCK.__enter__() and LOCK.__exit__())
    with LOCK:
        job.start()
        assert waited(lambda: LOCK.wanted)
        painter.want(atlas)
        time.sleep(0.3)
        assert pieces == []
    job.join()
    assert waited(lambda: bool(pieces))
    painter.stop()
    assert painter._thread is None


def test_a_stopped_painter_ends_while_requests_run(
    handle: TokenizerHandle, requests: RequestMonitor
) -> None:
    atlas, painter = CodeAtlas(handle), Painter()
    requests.begin()
    painter.want(atlas)
    painter.stop()
    assert painter._thread is None
    assert atlas.progress()["counted"] == 0


def test_one_piece_of_work_is_short(
    handle: TokenizerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = CodeAtlas(handle)
    finished = [atlas.count.finish()]
    assert finished

    now = [0.0]

    def slow(tokenizer: Tokenizer, ids: np.ndarray, *_: object, **__: object) -> np.ndarray:
        now[0] += 0.05 * len(ids)
        return np.zeros((len(ids), F, F, 3), np.uint8)

    monkeypatch.setattr(core_codes, "paint_codes", slow)
    monkeypatch.setattr(code_atlas, "time", SimpleNamespace(monotonic=lambda: now[0]))
    atlas.work()  # the first piece measures the pace
    started = now[0]
    atlas.work()
    assert 0 < now[0] - started < 2 * code_atlas.SHARE


def test_the_checkpoint_opened_last_is_painted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    painter, one, two = Painter(), _Unfinished(), _Unfinished()
    monkeypatch.setattr(painter, "_thread", threading.current_thread())
    painter.want(one)
    painter.want(two)
    assert painter._next() is two
    painter.want(one)
    assert painter._next() is one
    one.finished = True
    assert painter._next() is two


class _Unfinished:
    finished = False


def test_a_failing_checkpoint_does_not_stop_the_others(
    handle: TokenizerHandle, requests: RequestMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, atlas, painter = CodeAtlas(handle), CodeAtlas(handle), Painter()
    monkeypatch.setattr(broken, "work", lambda: 1 / 0)
    painter.want(atlas)
    painter.want(broken)
    assert waited(lambda: atlas.finished)
    assert waited(lambda: painter._thread is None)


def test_the_lock_knows_whether_somebody_waits() -> None:
    lock = ModelLock()
    assert not lock.wanted
    with lock, lock:
        assert not lock.wanted
        thread = threading.Thread(target=lambda: lock.__enter__() and lock.__exit__())
        thread.start()
        assert waited(lambda: lock.wanted)
    thread.join()
    assert not lock.wanted


# ---------------------------------------------------------------- pages


def unpacked(text: str, kind: str) -> np.ndarray:
    import base64

    return np.frombuffer(base64.b64decode(text), kind)


def test_a_chart_of_tiles_paints_those_of_its_window(
    handle: TokenizerHandle, painted: list[int]
) -> None:
    columns = int(np.ceil(np.sqrt(SIZE)))
    window = SimpleNamespace(x=[0, 2], y=[-1, 0], width=90, height=45)
    figure, _, _ = codebook_chart("large", "bundle", None, "tiles", "number", event=window)
    # With the margin of the window: the codes at its left, and one row below.
    inside = [row * columns + column for row in (0, 1) for column in (0, 1, 2)]
    assert set(painted) <= set(inside) and {0, 1} <= set(painted)
    assert code_stats.atlas(handle).painted[[0, 1]].all()
    assert figure.layout.meta["view"] == "tiles"


def test_a_page_sees_what_became_known_since_it_asked(handle: TokenizerHandle) -> None:
    asked = {"checkpoint": "large", "source": "bundle", "image": None, "view": "usage"}
    asked |= {"order": "alike", "code": None, "selection": None}
    value, _ = codebook.show_usage(*asked.values())
    assert value["progress"]["painted"] == 0 and not value["progress"]["finished"]
    assert value["progress"]["counted"] == 4
    atlas = code_stats.atlas(handle)
    atlas.look([9, 4])
    columns = int(np.ceil(np.sqrt(SIZE)))
    event = SimpleNamespace(x=[0, columns], y=[-columns, 0], width=90, height=90, follow=True)
    value, strip = codebook.show_view(*asked.values(), event)
    assert value["progress"]["painted"] == 2 and "first 4 of 6" in strip
    finish(atlas)
    value, strip = codebook.show_view(*asked.values(), event)
    assert value["progress"]["finished"] and f">{6 * TOKENS:,}<" in strip
    uses = np.array(values(value["figure"]["data"][0]["customdata"]))[:, 1]
    assert uses.sum() == 6 * TOKENS
    # Two answers never equal each other: an equal one would not reach the page.
    assert codebook.show_view(*asked.values(), event)[0] != value


def test_a_picture_shows_what_is_decoded_where_a_code_is_not_painted(
    handle: TokenizerHandle, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from PIL import Image

    from app.services import reconstruction, token_grids

    monkeypatch.setattr(token_grids, "AT_ONCE", 0.0)
    request = reconstruction.parse_request(str(photograph), "large")
    view = reconstruction.first_view(request)
    codes = np.unique(request.ids)
    assert view["tiles"] is None and view["sprite"] is None
    assert view["note"].startswith(f"0 of this picture's {len(codes)} codes")
    grid = np.asarray(Image.open(io.BytesIO(view["tokens"]["mean"].data)))
    decoded = np.asarray(Image.open(io.BytesIO(view["reconstruction"].data)).convert("RGB"))
    code = int(np.bincount(request.ids.ravel()).argmax())
    under = (request.ids == code).repeat(F, 0).repeat(F, 1)[: grid.shape[0], : grid.shape[1]]
    color = grid[under][0]
    np.testing.assert_allclose(color, decoded[under].mean(axis=0), atol=0.51)
    monkeypatch.setattr(token_grids, "AT_ONCE", 60.0)
    view = reconstruction.first_view(request)
    assert view["note"] == ""
    assert unpacked(view["tiles"]["of"], "<u4").tolist() == codes.tolist()
    grid = np.asarray(Image.open(io.BytesIO(view["tokens"]["mean"].data)))
    assert grid[under][0].tolist() == code_stats.atlas(handle).colors[code].tolist()

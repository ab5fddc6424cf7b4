"""The tab Collapse lab, its handlers called directly."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.services import lab_data, lab_sessions
from app.tabs import lab
from core.analysis.lab import pictures
from core.analysis.lab.points import DATA
from core.analysis.lab.training import default_quantizers
from core.plots.lab import LAB_METHODS
from core.plots.style import METHODS
from tests.app.ui.test_plot import values

DEFAULTS: dict[str, Any] = {
    "kind": "points", "points": "moons", "source": "scenes", "image": None, "size": 16,
    "names": ["VQ", "Reg-VQ"], "seed": 0,
    "rate": 3e-3, "prior": 0.1, "mask": 0.4, "temperature": 1.0, "alpha": 0.1,
}  # fmt: skip
PICTURES = {"kind": "pictures"}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use few scenes, few steps per request without a time limit, and leave no session behind."""
    few = pictures.scenes(train=8, test=6)
    monkeypatch.setattr(lab_data, "_scenes", lambda: few)
    monkeypatch.setattr(lab_sessions, "BUDGET", 60.0)
    monkeypatch.setattr(lab_sessions, "EVERY", 2)
    yield
    lab_sessions._sessions.clear()


def ask(
    key: int | None, how: str = "tick", number: int = 7, **changed: Any
) -> tuple[int, dict[str, Any]]:
    return ask_all(key, how, number, **changed)[:2]


def ask_all(key: int | None, how: str = "tick", number: int = 7, **changed: Any) -> tuple:
    settings = {**DEFAULTS, **changed}
    return getattr(lab, how)(SimpleNamespace(number=number), key, *settings.values())


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_tab_offers_the_quantizers_of_the_lab() -> None:
    assert tuple(default_quantizers()) == tuple(pictures.tiny_quantizers()) == lab_sessions.NAMES
    assert tuple(DATA) == lab_sessions.POINTS and set(lab_sessions.WATCH) == set(lab_sessions.NAMES)
    assert tuple(LAB_METHODS) == lab_sessions.NAMES and set(LAB_METHODS.values()) <= set(METHODS)
    assert not any("without" in name for name in lab.FIRST)
    assert set(lab.FIRST) <= set(lab_sessions.NAMES) and len(lab.FIRST) <= lab_sessions.MOST


@pytest.mark.parametrize("kind", lab_sessions.KINDS)
def test_each_run_has_the_number_of_its_codes(kind: str) -> None:
    names = ["VQ", "BSQ", "DiVeQ", "FSP"]
    key, _ = ask(None, kind=kind, names=names, size=56)
    _, value = ask(key, kind=kind, names=names, size=56)
    sizes = {run["name"]: run["size"] for run in value["runs"]}
    assert value["step"] == 2 and value["size"] == 56
    assert sizes == {"VQ": 56, "BSQ": 32, "DiVeQ": 56, "FSP": 56 if kind == "points" else 48}
    for run in value["runs"]:
        part, kind_of, width = ("codes", "<f4", 2) if kind == "points" else ("counts", "<u4", 1)
        assert len(unpacked(run[part], kind_of)) == width * run["size"]


@pytest.mark.parametrize("kind", lab_sessions.KINDS)
def test_a_session_continues_until_its_choices_change(kind: str) -> None:
    key, start = ask(None, kind=kind)
    assert start["step"] == 0 and [run["name"] for run in start["runs"]] == ["VQ", "Reg-VQ"]
    assert start["number"] == 7
    same, value = ask(key, kind=kind, number=8)
    assert same == key and value["step"] == 2 and value["lab"] == start["lab"]
    assert value["number"] == 8
    paused = ask(key, "look", kind=kind)[1]
    assert paused["step"] == 2 and paused["runs"] == value["runs"]
    for change in ({"size": 24}, {"names": ["EMA"]}, {"seed": 1}):
        fresh, value = ask(key, "look", **{"kind": kind, **change})
        assert fresh != key and value["step"] == 0 and value["lab"] != start["lab"]
        key = fresh
    other = "pictures" if kind == "points" else "points"
    assert ask(key, kind=other)[1]["kind"] == other


@pytest.mark.parametrize("kind", lab_sessions.KINDS)
def test_a_reset_starts_as_the_first_time(kind: str) -> None:
    key, start = ask(None, kind=kind)
    key, later = ask(key, kind=kind)
    again, value = ask(key, "restart", kind=kind)
    assert again != key and value["step"] == 0 and value["runs"] == start["runs"]
    assert ask(again, kind=kind)[1]["runs"] == later["runs"] != start["runs"]
    assert list(lab_sessions._sessions) == [again]


def test_the_view_of_points() -> None:
    _, value = ask(None)
    for run in value["runs"]:
        assert run["used"] == len(np.unique(unpacked(run["ids"], "<u2"))) / 16
        assert len(unpacked(run["codes"], "<f4")) == 16 * 2
        assert run["watch"] == lab_sessions.WATCH[run["name"]]


def test_the_view_of_pictures() -> None:
    key, value = ask(None, **PICTURES)
    frames = [run.look() for run in lab_sessions.find_session(key).runs.values()]
    assert value["several"] and len(unpacked(value["original"], "u1")) == 64 * 96 * 3
    for run, frame in zip(value["runs"], frames, strict=True):
        np.testing.assert_array_equal(unpacked(run["sheet"], "u1"), frame.sheet.ravel())
        np.testing.assert_array_equal(unpacked(run["paints"], "u1"), frame.paints.ravel())
        np.testing.assert_array_equal(unpacked(run["counts"], "<u4"), frame.counts)
        np.testing.assert_array_equal(unpacked(run["ids"], "<u2"), frame.ids.ravel())
        assert run["psnr"] == frame.psnr and run["used"] == (frame.counts > 0).mean()


def test_a_users_picture_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    Image.new("RGB", (90, 120), (200, 30, 60)).save(path)
    own = {**PICTURES, "source": "picture", "image": str(path), "names": ["EMA"]}
    key, value = ask(None, **own)
    assert not value["several"] and value["step"] == 0
    shown = unpacked(value["original"], "u1").reshape(64, 96, 3)
    np.testing.assert_array_equal(shown[5, 5], (200, 30, 60))
    assert ask(key, **own)[1]["step"] == 2
    Image.new("RGB", (90, 120), (10, 200, 60)).save(path)  # another picture, another session
    assert ask(key, **own)[1]["step"] == 0


@pytest.mark.parametrize("kind", lab_sessions.KINDS)
def test_settings_are_changed_during_training(kind: str) -> None:
    names = ["Reg-VQ", "Reg-VQ without prior", "Reg-VQ without mask", "NSVQ", "Gumbel"]
    key, _ = ask(None, kind=kind, names=names)
    changed = {"prior": 0.7, "mask": 0.2, "alpha": 0.5, "temperature": 0.6, "rate": 1e-3}
    same, value = ask(key, kind=kind, names=names, **changed)
    assert same == key and value["step"] == 2 and value["weights"] == changed
    runs = lab_sessions.find_session(key).runs
    found = {name: run.quantizer.config for name, run in runs.items()}
    assert (found["Reg-VQ"].prior_weight, found["Reg-VQ"].mask_ratio) == (0.7, 0.2)
    assert (found[names[1]].prior_weight, found[names[1]].mask_ratio) == (0.0, 0.2)
    assert (found[names[2]].prior_weight, found[names[2]].mask_ratio) == (0.7, 0.0)
    assert found["NSVQ"].alpha == 0.5
    assert found["Reg-VQ"].temperature == found["Gumbel"].temperature == 0.6
    assert {run.optimizer.param_groups[0]["lr"] for run in runs.values()} == {1e-3}


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lab_sessions.STEPS, "points", 3)
    key, _ = ask(None)
    assert [ask(key)[1]["step"] for _ in range(3)] == [2, 3, 3]


def test_the_number_of_sessions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_sessions._sessions, "size", 2)
    first, _ = ask(None)
    second, _ = ask(None)
    ask(first)
    third, _ = ask(None)
    assert list(lab_sessions._sessions) == [first, third]
    assert ask(second)[1]["step"] == 0  # a user who returns starts a new one
    lab_sessions.discard(third)
    assert lab_sessions.find_session(third) is None
    lab_sessions.discard(None)


WRONG = [
    ({"kind": "songs"}, "trains on points or pictures"),
    ({"points": "internet"}, "points must be one of moons"),
    ({"kind": "pictures", "source": "internet"}, "pictures must be scenes or picture"),
    ({"kind": "pictures", "source": "picture"}, "no picture yet"),
    ({"size": 4}, "number of codes must be a number from 8 to 256"),
    ({"size": 10**9}, "number of codes must be"),
    ({"names": []}, "1 to 6 quantizers"),
    ({"names": list(lab_sessions.NAMES)}, "1 to 6 quantizers"),
    ({"names": ["VQ", "magic"]}, "no such quantizer"),
    ({"names": [["VQ"]]}, "no such quantizer"),
    ({"names": None}, "no such quantizer"),
    ({"seed": -1}, "seed must be"),
    ({"rate": 1}, "learning rate must be"),
    ({"prior": 2}, "weight of the prior must be"),
    ({"mask": float("nan")}, "mask ratio must be"),
    ({"temperature": 0}, "temperature must be"),
    ({"alpha": None}, "weight of the dense loss must be"),
]


@pytest.mark.parametrize(("changed", "words"), WRONG)
def test_wrong_settings_are_refused_and_nothing_is_lost(changed: dict, words: str) -> None:
    key, _ = ask(None)
    same, value = ask(key, number=9, **changed)
    assert words in value["sentence"] and value["number"] == 9 and same == key
    assert ask(key)[1]["step"] == 2


def test_the_api_trains_and_returns_the_figures() -> None:
    *growing, (gallery, codebooks, figures) = lab.lab_pictures(None, ["VQ", "Reg-VQ"], 16, 0, 5)
    assert len(growing) == 3  # two steps at a time, so that other requests run in between
    assert figures["step"] == [0, 2, 4, 5] and figures["prior"] == 0.1
    assert [words.split(":")[0] for _, words in gallery] == ["Originals", "VQ", "Reg-VQ"]
    assert Image.open(gallery[1][0]).size == (4 * 96, 4 * 64)
    assert [name for _, name in codebooks] == ["VQ", "Reg-VQ"]
    for own in figures["runs"].values():
        assert len(own["psnr"]) == len(own["used"]) == len(own["perplexity"]) == 4
        assert own["psnr"][-1] > own["psnr"][0] and sum(own["counts"]) == 6 * 64
        assert own["used"][-1] == np.count_nonzero(own["counts"]) / 16
    for key, scale in (("used", 100), ("perplexity", 1), ("psnr", 1)):
        drawn = figures["charts"][key]["data"]
        assert [(one["name"], one["x"]) for one in drawn] == [
            (name, figures["step"]) for name in ("VQ", "Reg-VQ")
        ]
        assert drawn[1]["y"] == [scale * value for value in figures["runs"]["Reg-VQ"][key]]
    assert not any("charts" in value for *_, value in growing)
    with pytest.raises(gr.Error, match="number of steps must be"):
        list(lab.lab_pictures(None, ["VQ"], 16, 0, 10**6))
    with pytest.raises(gr.Error, match="no such quantizer"):
        list(lab.lab_pictures(None, "magic"))


def test_the_curves_are_extended_and_mark_changed_settings() -> None:
    key, first, *charts = ask_all(None)
    assert [one.get("none") for one in charts] == [None, None, ""]  # points have no PSNR
    _, second, used, perplexity, _ = ask_all(key, rate=5e-3)
    for chart, name, scale in ((used, "used", 100), (perplexity, "perplexity", 1)):
        for trace, a, b in zip(chart["figure"]["data"], first["runs"], second["runs"], strict=True):
            assert trace["name"] == a["name"]
            assert values(trace["x"]) == [0, 2]
            assert values(trace["y"]) == [scale * a[name], scale * b[name]]
    ask_all(key, rate=1e-3)
    chart = ask_all(key, "look", rate=1e-3)[2]
    assert [one["text"] for one in chart["figure"]["layout"]["annotations"]] == ["rate 0.001"]
    _, view, *charts = ask_all(key, rate=-1)
    assert "learning rate" in view["sentence"] and len(charts) == 3
    assert ask_all(None, **PICTURES)[4]["figure"]["data"][0]["name"] == "VQ"

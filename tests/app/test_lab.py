"""The tab Collapse lab, its handler called directly."""

from __future__ import annotations

import base64
from typing import Any

import gradio as gr
import numpy as np
import pytest

from app import lab
from core.analysis.collapse import DATA, contestants


def tick(kept: Any, handler: Any = lab.tick, **changed: Any) -> tuple[lab.Lab, dict[str, Any]]:
    settings = {
        "data": "moons", "size": 16, "names": ["VQ", "Reg-VQ"], "seed": 0,
        "prior": 0.1, "mask": 0.4, "dense": 0.1,
    }  # fmt: skip
    return handler(kept, *{**settings, **changed}.values())


def test_what_the_tab_offers_is_what_the_lab_knows() -> None:
    assert tuple(contestants()) == lab.NAMES and tuple(DATA) == lab.POINTS
    assert set(lab.FIRST) <= set(lab.NAMES) and len(lab.FIRST) <= lab.MOST


def test_a_lab_goes_on_until_what_it_is_made_of_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "BUDGET", 60.0)
    kept, start = tick(None)
    assert start["step"] == 0 and [run["name"] for run in start["runs"]] == ["VQ", "Reg-VQ"]
    again, value = tick(kept)
    assert again is kept and value["step"] == lab.EVERY and value["lab"] == start["lab"]
    for before, run in zip(start["runs"], value["runs"], strict=True):
        ids = np.frombuffer(base64.b64decode(run["ids"]), "<u2")
        assert run["used"] == len(np.unique(ids)) / 16
        assert len(base64.b64decode(run["codes"])) == 16 * 2 * 4
        assert run["latents"] != before["latents"]
    for change in ({"data": "spiral"}, {"size": 24}, {"names": ["EMA"]}, {"seed": 1}):
        fresh, value = tick(kept, **change)
        assert fresh is not kept and value["step"] == 0
    assert tick(kept, lab.again)[1]["step"] == 0


def test_weights_are_changed_while_it_runs() -> None:
    names = ["Reg-VQ", "Reg-VQ without prior", "Reg-VQ without mask", "NSVQ"]
    kept, _ = tick(None, names=names)
    same, _ = tick(kept, names=names, prior=0.7, mask=0.2, dense=0.5)
    assert same is kept
    found = {name: run.quantizer.config for name, run in kept.runs.items()}
    assert (found["Reg-VQ"].prior_weight, found["Reg-VQ"].mask_ratio) == (0.7, 0.2)
    assert (found[names[1]].prior_weight, found[names[1]].mask_ratio) == (0.0, 0.2)
    assert (found[names[2]].prior_weight, found[names[2]].mask_ratio) == (0.7, 0.0)
    assert found["NSVQ"].alpha == 0.5


def test_a_lab_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "STEPS", 4)
    monkeypatch.setattr(lab, "BUDGET", 60.0)
    kept, _ = tick(None)
    assert tick(kept)[1]["step"] == tick(kept)[1]["step"] == 4


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": "internet"}, "points must be one of moons"),
        ({"size": 4}, "number of codes must be a number from 8 to 256"),
        ({"size": 10**9}, "number of codes must be"),
        ({"names": []}, "1 to 4 quantizers"),
        ({"names": list(lab.NAMES)}, "1 to 4 quantizers"),
        ({"names": ["VQ", "magic"]}, "no such quantizer"),
        ({"names": None}, "no such quantizer"),
        ({"seed": -1}, "seed must be"),
        ({"prior": 2}, "prior's weight must be"),
        ({"mask": float("nan")}, "mask ratio must be"),
        ({"dense": None}, "weight of the dense loss must be"),
    ],
)
def test_wrong_settings_are_refused(changed: dict, words: str) -> None:
    with pytest.raises(gr.Error, match=words):
        tick(None, **changed)

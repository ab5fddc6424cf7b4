"""The charts over training on the tab Codebook; a bundle without a history or a log has none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.services import checkpoints
from app.services.drift import NO_HISTORY
from app.services.training import NO_LOG
from app.tabs import codebook_drift
from tests.app.ui.test_plot import values

NAME = "tiny-regvq"


def test_the_history_of_a_bundle_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = checkpoints.open_tokenizer(NAME)
    counts = np.zeros((3, 60), np.uint32)
    counts[0, 0], counts[1, :2], counts[2] = 10, 5, 2
    moved = np.arange(180).reshape(3, 60).astype(np.float16)
    known = {"history_steps": np.array([5, 10, 15]), "history_counts": counts}
    atlas = {**handle.bundle.atlas, **known, "history_moved": moved}
    monkeypatch.setitem(handle.bundle.__dict__, "atlas", atlas)
    shown, _ = codebook_drift.show(NAME, 2)
    lines = {one["name"]: one for one in shown["figure"]["data"]}
    assert values(lines["codes used"]["x"]) == [5, 10, 15]
    assert values(lines["codes used"]["y"]) == pytest.approx([100 / 60, 200 / 60, 100])
    assert values(lines["perplexity"]["y"]) == pytest.approx([100 / 60, 200 / 60, 100])
    assert values(lines["distance moved, median"]["y"]) == pytest.approx([2950, 8950, 14950])
    far = values(lines["distance moved, 90th percentile"]["y"])
    assert far[0] == pytest.approx(5310, rel=1e-3)
    assert values(lines["distance moved, code 2"]["y"]) == pytest.approx([200, 6200, 12200])
    # A single save shows no change.
    one = {name: value[1:2] for name, value in known.items()} | {"history_moved": moved[1:2]}
    monkeypatch.setitem(handle.bundle.__dict__, "atlas", {**atlas, **one})
    assert codebook_drift.show(NAME, 2)[0]["none"].startswith(
        "This checkpoint was saved once in its training, at step 10: with 2 of 60 codes in use."
    )
    # A history of another codebook is ignored.
    monkeypatch.setitem(
        handle.bundle.__dict__,
        "atlas",
        {**atlas, "history_counts": counts[:, :5], "history_moved": moved[:, :5]},
    )
    assert codebook_drift.show(NAME, 2)[0]["none"] == NO_HISTORY


def test_a_bundle_without_a_history_says_so() -> None:
    drift, curves = codebook_drift.show(NAME, None)
    assert (drift["none"], curves["none"]) == (NO_HISTORY, NO_LOG)


def test_the_curves_of_a_run_are_drawn(
    tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(bundles / NAME, tmp_path / NAME)
    rows = [{"step": step, "loss": 1 / step} for step in (1, 2, 4)]
    (tmp_path / NAME / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    checkpoints._open.cache_clear()
    try:
        _, curves = codebook_drift.show(NAME, None)
    finally:
        checkpoints._open.cache_clear()
    (line,) = curves["figure"]["data"]
    assert line["name"] == "loss"
    assert values(line["x"]) == [1, 2, 4] and values(line["y"]) == [1, 0.5, 0.25]

"""The change over training on the tab Codebook; a bundle without a history has none."""

from __future__ import annotations

import base64
import math

import gradio as gr
import numpy as np
import pytest

from app.services import checkpoints
from app.tabs import codebook_drift

NAME = "tiny-regvq"


def test_the_history_of_a_bundle_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = checkpoints.open_tokenizer(NAME)
    counts = np.zeros((3, 60), np.uint32)
    counts[0, 0], counts[1, :2], counts[2] = 10, 5, 2
    moved = np.arange(180).reshape(3, 60).astype(np.float16)
    known = {"history_steps": np.array([5, 10, 15]), "history_counts": counts}
    atlas = {**handle.bundle.atlas, **known, "history_moved": moved}
    monkeypatch.setitem(handle.bundle.__dict__, "atlas", atlas)
    found = codebook_drift.show(NAME)["history"]
    assert found["steps"] == [5, 10, 15] and found["used"] == [1, 2, 60]
    assert found["perplexity"] == pytest.approx([1, 2, 60])
    assert found["tokens"] == [10, 10, 120] and found["codes"] == 60
    assert found["median"] == pytest.approx([29.5, 89.5, 149.5])
    assert math.isclose(found["far"][0], 53.1, rel_tol=1e-3)
    distances = np.frombuffer(base64.b64decode(found["moved"]), "<f4").reshape(3, 60)
    np.testing.assert_array_equal(distances, moved)
    # A history of another codebook is ignored.
    monkeypatch.setitem(
        handle.bundle.__dict__,
        "atlas",
        {**atlas, "history_counts": counts[:, :5], "history_moved": moved[:, :5]},
    )
    assert codebook_drift.show(NAME)["history"] is None


def test_a_bundle_without_a_history_says_so() -> None:
    assert codebook_drift.show(NAME) == {"checkpoint": NAME, "history": None}
    assert codebook_drift.show(NAME, "Code map") == gr.skip()

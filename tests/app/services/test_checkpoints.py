"""Tokenizers by name: the list, their handles, what is said about them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from app.services import checkpoints
from app.services.errors import UserError
from app.services.reconstruction import parse_request, run
from core.errors import CheckpointError
from core.quantizers import RegVQConfig
from tests.app.conftest import SIZE, tiny


def test_the_default_checkpoint_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tokenizer = tiny(RegVQConfig(size=SIZE), seed=2)
    for name in ("a-vq", "birds-regvq", checkpoints.DEFAULT, "zoo-regvq"):
        tokenizer.save_pretrained(tmp_path / name)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    assert checkpoints.names() == [checkpoints.DEFAULT, "birds-regvq", "zoo-regvq", "a-vq"]


def test_a_broken_bundle_is_not_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny(RegVQConfig(size=SIZE), seed=2).save_pretrained(tmp_path / "good")
    for name, text in {"broken": "{", "other": '{"kind": "prior"}', "empty": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    assert checkpoints.names() == ["good"]


def test_a_run_that_is_still_training_is_reloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    first, second = (tiny(RegVQConfig(size=SIZE), seed=seed) for seed in (3, 4))
    first.save_pretrained(tmp_path / "run")
    before = checkpoints.open_tokenizer("run")
    assert (
        checkpoints.open_tokenizer("run") == before
        and checkpoints.open_tokenizer("run").tokenizer is before.tokenizer
    )
    time.sleep(0.02)  # the clock of the file system has to move on
    second.save_pretrained(tmp_path / "run")
    after = checkpoints.open_tokenizer("run")
    assert after != before
    np.testing.assert_array_equal(after.tokenizer.quantizer.codebook(), second.quantizer.codebook())


def test_a_bundle_without_weights_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photograph: Path
) -> None:
    tiny(RegVQConfig(size=SIZE), seed=2).save_pretrained(tmp_path / "half")
    (tmp_path / "half" / "model.safetensors").unlink()
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="is missing; the bundle is incomplete"):
        run(parse_request(str(photograph), "half"))


def test_the_summary_is_true_of_the_checkpoint() -> None:
    assert "60 learned codes, one for every 8 × 8 pixels" in checkpoints.summary("tiny-regvq")
    assert checkpoints.no_checkpoint_text() == checkpoints.summary(None)


def test_the_card_is_the_bundles_own_without_its_front_matter() -> None:
    assert checkpoints.model_card("tiny-regvq") == "# Tiny\n\nA card for the tests."
    assert "has no model card" in checkpoints.model_card("tiny-vq")
    with pytest.raises(UserError, match="no checkpoint called"):
        checkpoints.model_card("../tiny-regvq")

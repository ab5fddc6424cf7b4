"""Tokenizers by name: the list, their handles, what is said about them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.services import checkpoints, code_stats, scene_counts
from app.services.errors import UserError
from app.services.reconstruction import parse_request, run
from core.analysis.atlas import build_atlas
from core.analysis.codes import paint_codes
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
    for name, text in {
        "broken": "{",
        "other": '{"kind": "prior"}',
        "empty": "",
        "deep": "[" * 100_000,
    }.items():
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
    for file in (tmp_path / "run").iterdir():  # the clock of a file system may stand still
        os.utime(file, (1000, 1000))
    before = checkpoints.open_tokenizer("run")
    assert (
        checkpoints.open_tokenizer("run") == before
        and checkpoints.open_tokenizer("run").tokenizer is before.tokenizer
    )
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


@pytest.mark.parametrize("edit", ["cut", "other codes", "other size", "no paints"])
def test_an_atlas_that_does_not_fit_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edit: str
) -> None:
    """Also in bundles without checksums, of earlier versions."""
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr(scene_counts, "SCENES", 2)
    tokenizer = tiny(RegVQConfig(size=SIZE), seed=5)
    tokenizer.save_pretrained(tmp_path / "one")
    config = json.loads((tmp_path / "one/config.json").read_text())
    older = {k: v for k, v in config.items() if k not in ("checksums", "sha256")}
    (tmp_path / "one/config.json").write_text(json.dumps(older))
    atlas = build_atlas(tokenizer, counts=np.ones(SIZE, np.int64), source="other pictures")
    if edit == "other codes":
        atlas["counts"] = np.ones(SIZE + 1, np.int64)
    if edit == "other size":
        atlas["paints"] = np.zeros((SIZE, 64, 64, 3), np.uint8)
    if edit == "no paints":
        del atlas["paints"]
    np.savez_compressed(tmp_path / "one/atlas.npz", **atlas)
    if edit == "cut":
        file = tmp_path / "one/atlas.npz"
        file.write_bytes(file.read_bytes()[:500])
    handle = checkpoints.open_tokenizer("one")
    found = code_stats.atlas(handle)
    assert "drawn scenes" in found.source and len(found.counts) == SIZE
    found.look([0])
    assert found.complete and found.tiles.shape == (SIZE, 8, 8, 3)
    np.testing.assert_array_equal(found.tiles, paint_codes(handle.tokenizer))


def test_a_card_loads_nothing_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    card = (
        "# A\n\n![plot](https://example.org/a.png) [![badge][b]](https://example.org)\n"
        '<img src="//example.org/b.png"> <im<img>g src=x> <VIDEO poster=y></video>\n'
        '<svg><image href="https://example.org/c"/></svg> a < b and ! [x]\n[b]: https://a/b.svg'
    )
    text = checkpoints.without_pictures(card)
    assert "![" not in text and "[plot](https://example.org/a.png)" in text
    assert "<" not in text.replace("a < b", "") and "# A" in text and "! [x]" in text
    monkeypatch.setattr(checkpoints, "bundle", lambda name: SimpleNamespace(card=card))
    assert checkpoints.model_card("a") == text

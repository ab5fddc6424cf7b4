"""Bundles of judges: saving, loading, and errors for bundles that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.bundles.bundle import list_bundles
from core.checkpoints import load_tokenizer
from core.errors import CheckpointError
from core.judges import load_judge
from core.judges.attributes import AttributeClassifier, AttributesConfig
from core.judges.segmenter import Segmenter, SegmenterConfig
from tests.helpers.bundle_edits import config_of, write_config


def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(SegmenterConfig(("sky", "sea"), size=32, widths=(8, 16)))


def attributes() -> AttributeClassifier:
    torch.manual_seed(0)
    questions = (("hour", ("dawn", "noon", "dusk")), ("sea", ("no", "yes")))
    return AttributeClassifier(AttributesConfig(questions, ("sky", "sea"), 32, (8, 8, 8), hidden=8))


@pytest.mark.parametrize("make", [segmenter, attributes])
def test_a_loaded_judge_equals_the_saved_one(tmp_path: Path, make) -> None:
    judge = make().eval()
    bundle = judge.save_pretrained(
        tmp_path / "judge", data={"name": "scenes"}, metrics={"mean_iou": 0.5}, card="# j\n"
    )
    assert [each.config["kind"] for each in list_bundles(tmp_path)] == ["judge"]
    assert bundle.metrics == {"mean_iou": 0.5} and bundle.card == "# j\n"
    loaded = load_judge(tmp_path / "judge", type(judge))
    assert loaded.config == judge.config and not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.allclose(loaded(images), judge(images), atol=3e-2)
    judge.save_pretrained(tmp_path / "judge", data={}, metrics={}, card="# again\n")
    assert (tmp_path / "judge" / "README.md").read_text() == "# again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["judge"]


def test_bundles_that_do_not_fit_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    segmenter().save_pretrained(folder, data={}, metrics={}, card="")
    with pytest.raises(CheckpointError, match=r"'segmenter'.*'attributes'.*judge.py attributes"):
        load_judge(folder, AttributeClassifier)
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        load_tokenizer(folder)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_judge(tmp_path / "gone", Segmenter)
    config = config_of(folder)
    for change, words in (
        ({"kind": "tokenizer"}, "'tokenizer', not a judge"),
        ({"judge": {**config["judge"], "depth": 3}}, "does not describe a judge"),
        ({"judge": {**config["judge"], "widths": [8, 24]}}, "does not fit"),
    ):
        write_config(folder, config | change)
        with pytest.raises(CheckpointError, match=words):
            load_judge(folder, Segmenter)
    write_config(folder, config)
    (folder / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_judge(folder, Segmenter)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_judge(folder, Segmenter)

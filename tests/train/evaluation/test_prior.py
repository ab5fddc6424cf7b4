"""``train/run.py`` and ``train/evaluate.py`` on priors, as their user runs them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from core.bundles.bundle import find_bundle
from core.data.scenes import CLASSES, QUESTIONS
from core.judges.attributes import AttributeClassifier, AttributesConfig
from core.judges.segmenter import Segmenter, SegmenterConfig
from tests.helpers.tiny_prior_runs import SIZE, scene_shards, tokenizer_bundle
from train.evaluate import main as evaluate
from train.run import main as run

WHERE = ("--data.name", "scenes", "--limit", "6", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer, shards of its tokens, a prior trained on them by its recipe, and two judges."""
    root = tmp_path_factory.mktemp("everything")
    tokens = scene_shards(root / "shards", tokenizer_bundle(root / "scenes-tokens"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.loop.prior.HELD_OUT", 3)
        run(
            ["scenes-masked", "--tokenizer", str(root / "scenes-tokens"), "--tokens",
             str(tokens), "--data.size", str(SIZE), "--prior.width", "16", "--prior.layers", "1",
             "--prior.heads", "2", "--steps", "2", "--batch", "2", "--out", str(root / "painter")]
        )  # fmt: skip
    segmenter = Segmenter(SegmenterConfig(tuple(CLASSES), size=16, widths=(8, 8)))
    segmenter.save_pretrained(root / "segmenter", data={"name": "scenes"}, metrics={}, card="")
    config = AttributesConfig(tuple(QUESTIONS.items()), tuple(CLASSES), 16, (8, 8, 8), hidden=8)
    judge = AttributeClassifier(config)
    judge.save_pretrained(root / "attributes", data={"name": "scenes"}, metrics={}, card="")
    return root


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """The command in this process, judges as they are found: its exit code and what it said."""
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(folder))

    def said(out: Path, *more: object) -> tuple[int, str]:
        flags = ["--checkpoint", folder / "painter", "--out", out, *WHERE, *more]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, flags)])
        code = 0
        try:
            evaluate()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out if code == 0 else captured.err.splitlines()[-1]

    return said


def test_the_recipe_leaves_a_prior(folder):
    bundle = find_bundle(folder / "painter")
    assert bundle.kind == "prior" and bundle.config["recipe"]["name"] == "scenes-masked"
    assert bundle.config["tokenizer"]["name"] == "scenes-tokens"
    assert "python train/run.py scenes-masked --tokens DIR --steps 2" in bundle.card
    assert "Not evaluated yet" in bundle.card


def test_a_prior_is_drawn_from_judged_and_published(tmp_path, folder, command):
    out = tmp_path / "report.json"
    code, table = command(out, "--features.name", "none", "--prior.steps", 4, "--publish",
                          "--prior.told", "semantic", "--note.terms", "do as you like")  # fmt: skip
    assert code == 0, table
    report = json.loads(out.read_text())
    assert report["pictures"] == 6 and report["seed"] == 0
    assert report["sampling"] | {"steps": 4, "guidance": 2.0} == report["sampling"]
    assert report["data"] == {"name": "scenes", "root": None, "split": "test", "size": SIZE}
    for key in ("mean_iou", "pixel_accuracy"):
        assert set(report[key]) == {"drawn", "real", "reconstructed"}
        assert all(0 <= value <= 1 for value in report[key].values())
    assert set(report["frechet_distance"]) == {"drawn", "reconstructed"}
    assert "attribute classifier" in report["features"]
    assert report["told"] == ["semantic"] and "named_right" not in report  # it was told no text
    assert re.search(r"Mean IoU .* \d\.\d{3} \(real \d\.\d{3}, reconstructed \d\.\d{3}\)", table)
    found = find_bundle(folder / "painter")
    assert found.metrics["mean_iou"] == report["mean_iou"] and found.metrics["step"] == 2
    assert f"| {report['mean_iou']['drawn']:.3f} (real" in found.card
    assert "do as you like" in found.card and str(folder) not in found.card
    assert found.config["sampling"]["steps"] == 4  # what was measured is what it hands on
    assert "steps 4" in found.card


def test_what_cannot_be_used_is_said_in_a_sentence(tmp_path, folder, command):
    out = tmp_path / "report.json"
    other = tokenizer_bundle(tmp_path / "other", seed=1)
    for more, words in (
        (("--fid", "--prior.batch", 4), "--fid cannot be used for a prior"),
        (("--data.square", 64, "--batch", 2), "--batch, --data.square cannot be used"),
        (("--prior.batch", 0), "--prior.batch must be 1 or more"),
        (("--prior.steps", 0), "steps must be a whole number from 1"),
        (("--prior.top-p", 7), "top_p must be above 0"),
        (("--prior.guidance", "nan"), "guidance must be from 0"),
        (("--prior.told", "label"), "is not a condition of this prior; available: text, semantic"),
        (("--prior.tokenizer", other), "other is not the tokenizer"),
        (("--prior.segmenter", folder / "attributes"), "'segmenter' of format"),
    ):
        code, said = command(out, "--features.name", "none", *more)
        assert code == 2 and said.startswith("error: ") and words in said, said
    assert not out.exists()

"""``train/run.py`` and ``train/evaluate.py`` on priors."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from core.bundles.bundle import find_bundle
from core.data import open_dataset
from core.data.scenes import CLASSES, QUESTIONS
from core.judges.attributes import AttributeClassifier, AttributesConfig
from core.judges.segmenter import Segmenter, SegmenterConfig
from core.metrics.clip import Clip, clip_score, r_precision
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
            [
                "scenes-masked",
                "--tokenizer",
                str(root / "scenes-tokens"),
                "--tokens",
                str(tokens),
                "--data.size",
                str(SIZE),
                "--prior.width",
                "16",
                "--prior.layers",
                "1",
                "--prior.heads",
                "2",
                "--steps",
                "2",
                "--batch",
                "2",
                "--out",
                str(root / "painter"),
            ]
        )
    segmenter = Segmenter(SegmenterConfig(tuple(CLASSES), size=16, widths=(8, 8)))
    segmenter.save_pretrained(root / "segmenter", data={"name": "scenes"}, metrics={}, card="")
    config = AttributesConfig(tuple(QUESTIONS.items()), tuple(CLASSES), 16, (8, 8, 8), hidden=8)
    judge = AttributeClassifier(config)
    judge.save_pretrained(root / "attributes", data={"name": "scenes"}, metrics={}, card="")
    return root


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run evaluate.py in this process and return its exit code and what it printed."""
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(folder))

    def said(out: Path, *more: object) -> tuple[int, str]:
        checkpoint = () if "--checkpoint" in more else ("--checkpoint", folder / "painter")
        flags = [*checkpoint, "--out", out, *WHERE, *more]
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


def test_a_prior_is_sampled_judged_and_published(tmp_path, folder, command):
    out = tmp_path / "report.json"
    code, table = command(
        out,
        "--features.name",
        "none",
        "--prior.steps",
        4,
        "--publish",
        "--prior.told",
        "semantic",
        "--note.terms",
        "do as you like",
    )
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
    assert report["told"] == ["semantic"] and "named_right" not in report  # the text was withheld
    assert re.search(r"Mean IoU .* \d\.\d{3} \(real \d\.\d{3}, reconstructed \d\.\d{3}\)", table)
    found = find_bundle(folder / "painter")
    assert found.metrics["mean_iou"] == report["mean_iou"] and found.metrics["step"] == 2
    assert f"| {report['mean_iou']['drawn']:.3f} (real" in found.card
    assert "do as you like" in found.card and str(folder) not in found.card
    assert found.config["sampling"]["steps"] == 4  # the measured settings become the bundle's
    assert "steps 4" in found.card


def test_mistakes_get_one_line(tmp_path, folder, command):
    out = tmp_path / "report.json"
    other = tokenizer_bundle(tmp_path / "other", seed=1)
    few, turned = tmp_path / "few", tmp_path / "turned"
    for path, classes in ((few, CLASSES[:3]), (turned, reversed(CLASSES))):
        judge = Segmenter(SegmenterConfig(tuple(classes), size=16, widths=(8, 8)))
        judge.save_pretrained(path, data={"name": "scenes"}, metrics={}, card="")
    for more, words in (
        (("--codecs", "--prior.batch", 4), "--codecs cannot be used for a prior"),
        (("--fid", "--fid-weights", "x.pth"), "the weights file x.pth does not exist"),
        (("--fid-weights", "x.pth"), "--fid-weights needs --fid"),
        (("--data.square", 64, "--batch", 2), "--batch, --data.square cannot be used"),
        (("--prior.batch", 0), "--prior.batch must be 1 or more"),
        (("--prior.steps", 0), "steps must be a whole number from 1"),
        (("--prior.top-p", 7), "top_p must be above 0"),
        (("--prior.guidance", "nan"), "guidance must be from 0"),
        (("--prior.told", "label"), "is not a condition of this prior; available: text, semantic"),
        (("--prior.tokenizer", other), "other is not the tokenizer"),
        (("--prior.segmenter", folder / "attributes"), "'segmenter' of format"),
        (("--prior.segmenter", few), "few knows 3 classes, and the prior painter has 24"),
        (("--prior.segmenter", turned), f"turned knows the class {CLASSES[-1]!r}, which the prior"),
    ):
        code, said = command(out, "--features.name", "none", *more)
        assert code == 2 and said.startswith("error: ") and words in said, said
    assert not out.exists()


class ColorTower(nn.Module):
    """A stand-in for CLIP: pictures and captions are embedded by their colors and letters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4))

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([pixels.mean((2, 3)), torch.ones(len(pixels), 1)], 1) @ self.weight

    def encode_text(self, letters: torch.Tensor) -> torch.Tensor:
        return letters @ self.weight


def stand_in() -> Clip:
    def letters(captions: list[str]) -> torch.Tensor:
        return torch.tensor(
            [[text.count(letter) for letter in "aeio"] for text in captions]
        ).float()

    def pixels(picture: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255

    return Clip(ColorTower(), pixels, letters, "a stand-in for CLIP")


def test_clip_score_and_r_precision_of_a_prior_with_text(
    tmp_path, folder, command, monkeypatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "core.metrics.clip.load_clip", lambda *arguments: asked.append(arguments) or stand_in()
    )
    out = tmp_path / "report.json"
    flags = ("--features.name", "none", "--prior.steps", 2, "--prior.batch", 4, "--publish")
    code, table = command(out, *flags, "--prior.clip", "--prior.clip-weights", "mine.pt")
    assert code == 0, table
    assert asked == [("ViT-B-32", "mine.pt", "cpu")]
    report = json.loads(out.read_text())
    assert report["clip"] == "a stand-in for CLIP" and report["r_precision_among"] == 6
    versions = {"drawn", "real", "reconstructed"}
    assert set(report["clip_score"]) == set(report["r_precision"]) == versions
    # The figures of the real pictures, computed again.
    data = open_dataset("scenes", size=SIZE, split="test")
    samples = [data[index * len(data) // 6] for index in range(6)]
    images = torch.stack([sample.image for sample in samples])
    captions = [sample.caption for sample in samples]
    expected = clip_score(stand_in(), images, captions)
    assert report["clip_score"]["real"] == pytest.approx(expected, rel=1e-4)
    precision = r_precision(stand_in(), images, captions, among=6)
    assert report["r_precision"]["real"] == pytest.approx(precision)
    assert "CLIP score by a stand-in for CLIP, R-precision among 6 captions" in table
    assert f"{report['clip_score']['drawn']:.2f} (real {expected:.2f}, " in table
    card = find_bundle(folder / "painter").card
    assert f"| CLIP score of pictures and captions | {report['clip_score']['drawn']:.2f} (" in card
    assert "measured by a stand-in for CLIP: compare it only with figures of the same" in card


def test_clip_needs_text_and_weights(tmp_path, folder, command) -> None:
    out = tmp_path / "report.json"
    for more, words in (
        (("--prior.clip", "--prior.told", "semantic"), "needs a prior that is conditioned on text"),
        (("--prior.clip", "--prior.clip-weights", tmp_path / "gone.pt"), "gone.pt"),
        (("--prior.clip", "--prior.clip-model", "ViT-Z"), "'ViT-Z'"),
        (("--prior.clip-weights", "openai"), "--prior.clip-weights needs --prior.clip"),
    ):
        code, said = command(out, "--features.name", "none", *more)
        assert code == 2 and said.startswith("error: ") and words in said, said
    code, said = command(
        out, "--features.name", "none", "--prior.clip", "--checkpoint", folder / "scenes-tokens"
    )
    assert code == 2 and "--prior.clip is for priors" in said
    assert not out.exists()


class Means:
    """A stand-in for Inception's features, with the key of the published weights."""

    key, label = "fid", "Inception v3 (a stand-in)"

    def to(self, device: str) -> Means:
        return self

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_fid_of_a_prior_is_in_the_report_the_table_and_the_card(
    tmp_path, folder, command, monkeypatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "core.metrics.inception.load_inception", lambda file: asked.append(str(file)) or Means()
    )
    out = tmp_path / "report.json"
    flags = ("--features.name", "none", "--prior.steps", 2, "--publish")
    code, table = command(out, *flags, "--fid", "--fid-weights", "mine.pth")
    assert code == 0, table
    assert asked == ["mine.pth"]
    report = json.loads(out.read_text())
    assert set(report["fid"]) == {"drawn", "reconstructed"} and report["fid"]["drawn"] > 0
    assert "attribute classifier" in report["features"]  # of the other Fréchet distance
    drawn, reconstructed = (report["fid"][key] for key in ("drawn", "reconstructed"))
    beside = f"{drawn:.2f} (reconstructed {reconstructed:.2f})"
    assert re.search(rf"FID to held-out pictures +{re.escape(beside)}", table)
    assert "fid on Inception v3 (a stand-in): 6 pictures against 6; fewer give larger" in table
    card = find_bundle(folder / "painter").card
    assert f"| FID to held-out pictures | {beside} |" in card
    assert "`fid` is computed on Inception v3 (a stand-in): 6 pictures against 6; fewer" in card


def test_fid_of_a_prior_without_weights_is_refused_in_a_sentence(
    tmp_path, command, monkeypatch
) -> None:
    def offline(*arguments: object, **settings: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    code, said = command(tmp_path / "report.json", "--features.name", "none", "--fid")
    assert code == 2 and said.startswith("error: torch-fidelity's Inception weights (weights-incep")
    assert "cannot be downloaded (no network)" in said and "--fid-weights FILE" in said


def test_a_segmenter_of_other_classes_is_not_chosen(tmp_path, command, monkeypatch) -> None:
    """Its figures would compare classes by their numbers."""
    judge = Segmenter(SegmenterConfig(tuple(CLASSES[:3]), size=16, widths=(8, 8)))
    few = judge.save_pretrained(tmp_path / "few", data={"name": "scenes"}, metrics={}, card="")
    monkeypatch.setattr("core.bundles.bundle.list_bundles", lambda kind: [few])
    out = tmp_path / "report.json"
    code, said = command(out, "--features.name", "none", "--prior.steps", 2, "--limit", 2)
    assert code == 0 and "no judge (segmenter) for scenes is available" in said
    assert "mean_iou" not in json.loads(out.read_text())

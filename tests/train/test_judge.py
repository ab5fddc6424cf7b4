"""train/judge.py: both judges end to end on a few pictures, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from core.bundles.bundle import find_bundle
from core.data import center, open_dataset
from core.data.scenes import CLASSES
from core.judges import load_judge
from core.judges.attributes import AttributeClassifier
from core.judges.segmenter import Segmenter, SegmenterConfig
from core.metrics.segmentation import agreement
from tests.helpers import published_layouts
from train.judge import main

FEW = ("--batch", "8", "--judged", "12", "--device", "cpu", "--precision", "fp32")


@pytest.mark.slow
def test_a_segmenter_learns_scenes_and_states_its_own_score(tmp_path: Path) -> None:
    out = tmp_path / "judge"
    settings = ["--size", "32", "--pool", "50", *FEW]
    main(["segmenter", "--out", str(out), "--steps", "30", *settings])
    bundle = find_bundle(out)
    assert bundle.config["kind"] == "judge" and bundle.config["judge"]["name"] == "segmenter"
    assert len(bundle.config["data"]["palette"]) == len(bundle.config["data"]["classes"])
    assert bundle.metrics["pixel_accuracy"] > 0.45  # the most frequent class alone: 0.39
    assert bundle.metrics["pictures"] == 12
    # The score is that of the saved judge on held-out pictures.
    test = open_dataset("scenes", split="test", size=32)
    items = [center(test[index * len(test) // 12], 32) for index in range(12)]
    again = agreement(
        load_judge(out, Segmenter),
        torch.stack([item.image for item in items]),
        torch.stack([item.segmentation for item in items]),
    )
    assert again["mean_iou"] == pytest.approx(bundle.metrics["mean_iou"], abs=0.01)
    assert f"| Pixel accuracy | {bundle.metrics['pixel_accuracy']:.1%} |" in bundle.card
    assert "python train/judge.py segmenter --data.name scenes" in bundle.card


def test_a_segmenter_learns_published_maps(tmp_path: Path) -> None:
    root = published_layouts.camvid(tmp_path / "data")
    out = main(
        [
            "segmenter",
            "--out",
            str(tmp_path / "judge"),
            "--data.name",
            "camvid",
            "--data.root",
            str(root),
            "--size",
            "16",
            "--pool",
            "10",
            "--steps",
            "2",
            *FEW,
        ]
    )
    judge = load_judge(out, Segmenter)
    assert judge.config.classes[0] == "sky" and judge.config.size == 16
    described = json.dumps(find_bundle(out).config) + find_bundle(out).card
    assert str(tmp_path) not in described  # bundles are published: no path of this machine


def test_an_attribute_classifier_learns_scenes(tmp_path: Path) -> None:
    out = tmp_path / "judge"
    settings = ["--size", "32", "--pool", "40", *FEW]
    main(["attributes", "--out", str(out), "--steps", "20", *settings])
    figures = find_bundle(out).metrics
    assert figures["every"]["recognised"] > 0.65  # 0.5 without training
    assert figures["named"]["questions"]["hour"]["asked"] == 12
    assert load_judge(out, AttributeClassifier).config.size == 32


def test_an_attribute_classifier_starts_from_a_trained_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    segmenter = Segmenter(SegmenterConfig(CLASSES, 32))
    segmenter.save_pretrained(tmp_path / "reader", data={}, metrics={}, card="")
    settings = ["--size", "32", "--pool", "8", "--steps", "1", "--lr", "1e-9", *FEW]
    out = main(
        [
            "attributes",
            "--out",
            str(tmp_path / "judge"),
            "--begin",
            str(tmp_path / "reader"),
            *settings,
        ]
    )
    judge = load_judge(out, AttributeClassifier)
    for name, weight in judge.reader.state_dict().items():
        assert torch.allclose(weight, segmenter.state_dict()[name], atol=1e-3), name
    assert str(tmp_path) not in json.dumps(find_bundle(out).config) + find_bundle(out).card
    again = main(["attributes", "--out", str(tmp_path / "again"), "--begin", str(out), *settings])
    for name, weight in load_judge(again, AttributeClassifier).state_dict().items():
        assert torch.allclose(weight, judge.state_dict()[name], atol=1e-3), name
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "attributes",
                "--out",
                str(tmp_path / "other"),
                "--begin",
                str(tmp_path / "reader"),
                "--size",
                "16",
            ]
        )
    assert stop.value.code == 2
    assert "is not a judge of scenes of 16 pixels" in capsys.readouterr().err


MISTAKES = {
    "no command": ("", "segmenter"),
    "no place": ("segmenter", "--out"),
    "steps": ("segmenter --out {tmp}/j --steps 0", "steps must be at least 1"),
    "size": ("attributes --out {tmp}/j --size 40", "multiple of 16, got 40"),
    "root": ("segmenter --out {tmp}/j --data.name camvid --data.root {tmp}/gone", "gone"),
    "a folder of something else": ("segmenter --out {tmp}/taken", "holds something else"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    arguments, named = MISTAKES[mistake]
    with pytest.raises(SystemExit) as stop:
        main(arguments.format(tmp=tmp_path).split())
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith("error: ") and said.count("\n") == 1 and named in said, said
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "years of work"


def test_pictures_without_a_labeled_pixel_do_no_harm(tmp_path: Path) -> None:
    root = published_layouts.camvid(tmp_path / "data")
    for file in root.glob("trainannot/*.png"):
        published_layouts.save(file, published_layouts.halves(11, 11))
    out = main(
        [
            "segmenter",
            "--out",
            str(tmp_path / "judge"),
            "--data.name",
            "camvid",
            "--data.root",
            str(root),
            "--size",
            "16",
            "--pool",
            "4",
            "--steps",
            "6",
            "--batch",
            "1",
            "--judged",
            "2",
            "--device",
            "cpu",
        ]
    )
    weights = load_judge(out, Segmenter).state_dict().values()
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)


class Maps(torch.nn.Module):
    """Features that stand for pretrained ones."""

    name, label = "alexnet", "Stand-in (no weights)"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images * (index + 1) for index in range(4)]

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_a_classifier_of_labels_measures_a_prior(tmp_path: Path, monkeypatch, capsys) -> None:
    """It is trained, found by the name of its data, and refused where its classes are others."""
    from core.checkpoints import load_tokenizer
    from core.conditions import LabelConfig
    from core.priors import MaskedConfig
    from tests.helpers.tiny_prior_runs import tokenizer_bundle
    from train.evaluate import main as evaluate

    monkeypatch.setattr("core.networks.features.load_features", lambda *_: Maps())
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    root = published_layouts.imagenet(tmp_path / "data")
    out = tmp_path / "few-labels"
    where = ["--data.name", "imagenet", "--data.root", str(root)]
    assert main(["labels", "--out", str(out), "--size", "32", *where]) == out
    bundle = find_bundle(out)
    assert bundle.metrics["pictures"] == 3 and bundle.metrics["features"] == Maps.label
    assert bundle.config["data"]["labels"] == bundle.config["judge"]["classes"]
    assert str(root) not in json.dumps(bundle.config)
    assert f"{bundle.metrics['accuracy']:.1%} of 3 held-out pictures" in capsys.readouterr().out

    tokens = tokenizer_bundle(tmp_path / "tokens")
    tokenizer = load_tokenizer(tokens)
    grid = (64 // tokenizer.downsampling,) * 2

    def prior(name: str, classes: int, labels: list[str]) -> str:
        config = MaskedConfig(codebook_size=tokenizer.codebook_size, grid=grid, width=16, layers=1,
                              heads=2, conditions=(LabelConfig(classes=classes),))  # fmt: skip
        mark = {"name": "tokens", "fingerprint": tokenizer.fingerprint}
        data = {"name": "imagenet", "labels": labels}
        config.build().save_pretrained(tmp_path / name, tokenizer=mark, data=data, sampling={})
        return str(tmp_path / name)

    report = tmp_path / "report.json"
    more = [*where, "--features.name", "none", "--out", str(report), "--device", "cpu"]
    same = bundle.config["judge"]["classes"]
    evaluate(["--checkpoint", prior("same", 3, same), *more])
    found = json.loads(report.read_text())["class_accuracy"]
    assert set(found) == {"drawn", "real", "reconstructed"}
    assert found["real"] == pytest.approx(bundle.metrics["accuracy"])
    for name, classes, labels, words in (
        ("more", 4, [], "knows 3 classes, and the prior more has 4"),
        ("other", 3, ["cat", *same[1:]], "which the prior other has not in that place"),
    ):
        checkpoint = ["--checkpoint", prior(name, classes, labels)]
        evaluate([*checkpoint, *more])
        assert "no judge (labels) for imagenet is available" in capsys.readouterr().out
        assert "class_accuracy" not in json.loads(report.read_text())
        with pytest.raises(SystemExit):
            evaluate([*checkpoint, *more, "--prior.labels", str(out)])
        assert words in capsys.readouterr().err


def birds(root: Path) -> Path:
    """Write red and blue pictures with captions.jsonl, six to train on and four held out."""
    from PIL import Image

    root.mkdir()
    lines = []
    for number in range(10):
        color = ("red", "blue")[number % 2]
        Image.new("RGB", (48, 32), color).save(root / f"{number}.png")
        split = "train" if number < 6 else "test"
        said = [f"a {color} bird", "a bird"]
        lines.append(json.dumps({"file": f"{number}.png", "split": split, "captions": said}))
    (root / "captions.jsonl").write_text("\n".join(lines))
    return root


def test_a_judge_of_words_measures_a_prior(tmp_path: Path, monkeypatch, capsys) -> None:
    """It is trained, used if it is given, and asked only what a caption mentions."""
    from core.checkpoints import load_tokenizer
    from core.conditions import LabelConfig, TextConfig
    from core.priors import MaskedConfig
    from tests.helpers.tiny_prior_runs import tokenizer_bundle
    from train.evaluate import main as evaluate

    monkeypatch.setattr("core.networks.features.load_features", lambda *_: Maps())
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    root, out = birds(tmp_path / "data"), tmp_path / "colors"
    where = ["--data.name", "captions", "--data.root", str(root)]
    given = ["words", "--out", str(out), "--size", "32", *where]
    assert main([*given, "--data.stretch", "--words", "red", "blue"]) == out
    bundle = find_bundle(out)
    assert bundle.metrics["pictures"] == 4 and bundle.metrics["features"] == Maps.label
    assert bundle.metrics["found"] == bundle.metrics["absent"] == 1
    assert bundle.metrics["by_word"]["blue"] == {"found": 1, "absent": 1}
    assert bundle.config["data"]["words"] == ["red", "blue"]
    assert "--data.stretch --words red blue --features.name alexnet" in bundle.card
    assert str(root) not in json.dumps(bundle.config)
    assert "finds 100.0% of the words" in capsys.readouterr().out

    tokens = tokenizer_bundle(tmp_path / "tokens")
    tokenizer = load_tokenizer(tokens)
    grid = (64 // tokenizer.downsampling,) * 2

    def prior(name: str, condition: TextConfig | LabelConfig) -> str:
        config = MaskedConfig(codebook_size=tokenizer.codebook_size, grid=grid, width=16, layers=1,
                              heads=2, conditions=(condition,))  # fmt: skip
        mark = {"name": "tokens", "fingerprint": tokenizer.fingerprint}
        config.build().save_pretrained(tmp_path / name, tokenizer=mark, data={}, sampling={})
        return str(tmp_path / name)

    report = tmp_path / "report.json"
    more = [*where, "--features.name", "none", "--out", str(report), "--device", "cpu"]
    text = prior("text", TextConfig(width=16, layers=1, heads=2, vocabulary=0))
    evaluate(["--checkpoint", text, *more])
    assert "named_right" not in json.loads(report.read_text())
    evaluate(["--checkpoint", text, *more, "--prior.words", str(out)])
    found = json.loads(report.read_text())
    # Captions are given in turn: the second and fourth picture's mention no color.
    assert found["named_asked"] == 2 and found["named_right"]["real"] == 1
    assert set(found["questions"]) == {"red"}
    evaluate(["--checkpoint", text, *more, "--data.split", "train", "--data.stretch"])
    assert json.loads(report.read_text())["data"]["stretch"] is True
    labels = prior("labels", LabelConfig(classes=3))
    with pytest.raises(SystemExit):
        evaluate(["--checkpoint", labels, *more, "--prior.words", str(out)])
    assert "conditioned on text" in capsys.readouterr().err
    for words, said in (
        (["red", "pink"], "no training picture's captions mention 'pink'"),
        (["a"], "every training picture's captions mention 'a'"),
        ([], "needs different words"),
    ):
        with pytest.raises(SystemExit):
            main([*given[:2], str(tmp_path / "other"), *given[3:], "--words", *words])
        assert said in capsys.readouterr().err

"""Figures of finished runs on features that no run trained on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from torch import Tensor

from core.checkpoints import load_tokenizer
from core.data import open_dataset
from core.errors import CheckpointError, FeatureError
from core.metrics.reconstruction import evaluate_tokenizer
from core.networks.features import load_features
from tests.train.equal_budget.conftest import (
    MADE,
    STUDY,
    result_of,
    results_of_every_run,
    run_study,
)
from train.cli.common import evenly_spaced
from train.equal_budget import judge as module
from train.equal_budget.catalog import all_runs
from train.equal_budget.execute import WEIGHTS
from train.equal_budget.judge import Networks, judge
from train.equal_budget.results import gather
from train.export.tokenizer import sample_pictures
from train.study import main


class Colors:
    """Features of one map, the picture itself; their pooled features are its mean color."""

    name, label = "alexnet", "the colors"

    def __call__(self, images: Tensor) -> list[Tensor]:
        return [images]

    def pooled(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Gaps:
    """A distance of pictures in place of LPIPS: the mean absolute difference, times a factor."""

    def __init__(self, net: str, factor: float) -> None:
        self.key, self.label, self.factor = f"lpips_{net}", f"gaps of {net}", factor

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return self.factor * (a - b).abs().mean((1, 2, 3))


@pytest.fixture
def networks(monkeypatch) -> Networks:
    found = Networks((Gaps("alex", 1.0), Gaps("vgg", 3.0)), Colors())
    monkeypatch.setattr(module, "load_networks", lambda alexnet, vgg16: found)
    return found


def test_finished_runs_are_measured_once_and_stand_in_the_report(
    made, place, networks, tmp_path, capsys
):
    words = ["--study.root", str(place / "photos"), "--study.size", "32", "--study.limit", "2"]
    main(["judge", *words, "--out", str(made)])
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == list(MADE)
    files = {name: made / name / "judged.json" for name in MADE}
    found = {name: json.loads(file.read_text()) for name, file in files.items()}
    data = open_dataset("folder", place / "photos", size=32, split="test")
    tokenizer = load_tokenizer(made / "vqgan" / "bundle")
    gaps = []
    for index in evenly_spaced(3, 2):
        image = data[index].image[None]
        height, width = image.shape[-2:]
        shown = tokenizer.decode(tokenizer.encode(image))[..., :height, :width].clamp(-1, 1)
        gaps.append(float((image - ((shown + 1) * 127.5).round() / 127.5 + 1).abs().mean()))
    one = found["vqgan"]
    assert one["images"] == 2
    assert one["lpips_alex"] == pytest.approx(sum(gaps) / 2, rel=1e-3)
    assert one["lpips_vgg"] == pytest.approx(3 * one["lpips_alex"])
    assert one["alexnet_fd"] > 0
    assert one["labels"] == {
        "lpips_alex": "gaps of alex", "lpips_vgg": "gaps of vgg", "alexnet_fd": "the colors",
    }  # fmt: skip
    rows = {row["name"]: row for row in gather(made)["runs"]}
    for key in module.FIGURES:
        assert {name: rows[name][key] for name in MADE} == {n: found[n][key] for n in MADE}
    main(["report", "--out", str(made), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert f"{one['lpips_vgg']:.3f}" in text and "| LPIPS (AlexNet) | LPIPS (VGG-16) |" in text
    # What is measured stays.
    files["vqgan"].write_text(json.dumps(one | {"lpips_vgg": 0.5}))
    main(["judge", *words, "--out", str(made), "--only", "vqgan"])
    assert "0.500 (VGG-16)" in capsys.readouterr().out
    for file in files.values():
        file.unlink()


def test_figures_of_other_pictures_or_networks_are_not_mixed(made, tmp_path):
    out = results_of_every_run(tmp_path, made)
    judged = {"lpips_alex": 0.1, "images": 2, "labels": {"lpips_alex": "one network"}}
    for name in ("vqgan", "regvq"):
        (out / name / "judged.json").write_text(json.dumps(judged))
    assert gather(out)["runs"]
    (out / "regvq" / "judged.json").write_text(json.dumps(judged | {"images": 5}))
    with pytest.raises(CheckpointError, match=r"regvq.judged\.json has figures of 5 pictures"):
        gather(out)
    other = judged | {"labels": {"lpips_alex": "another network"}}
    (out / "regvq" / "judged.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match="made with another network, others with one network"):
        gather(out)


def test_a_run_that_is_trained_again_loses_the_figures_of_its_earlier_weights(place, tmp_path):
    judged = tmp_path / "vqgan" / "judged.json"
    judged.parent.mkdir()
    judged.write_text("{}")
    run_study(place, "run", "--jobs", "0", "--only", "vqgan", "--out", str(tmp_path))
    assert (tmp_path / "vqgan" / "result.json").exists() and not judged.exists()


def test_weights_that_are_not_those_of_lpips_are_refused(monkeypatch):
    class Others(Gaps):
        published = False

    monkeypatch.setattr(module, "load_features", lambda name, file: Colors())
    monkeypatch.setattr(module, "load_lpips", lambda net, file: Others(net, 1.0))
    with pytest.raises(FeatureError, match="torchvision's weights, and gaps of alex has others"):
        module.load_networks(None, None)


def test_an_outside_quantizer_is_judged_as_it_was_trained(made, place, networks):
    """Its run has no bundle: the saved weights are those whose figures the run has."""
    run = all_runs()["outside-simvq"]
    assert not (made / run.name / "bundle").exists()
    study = replace(STUDY, root=place / "photos", size=32, limit=2)
    measured = evaluate_tokenizer(
        module._trained(run, study, made),
        sample_pictures(open_dataset("folder", study.root, size=32, split="test"), 2),
        features=load_features("squeezenet", place / "weights.npz"),
    )
    figures = result_of(made, run.name)["figures"]
    for key in ("psnr", "codes_used", "squeezenet_fd"):
        assert measured[key] == pytest.approx(figures[key], rel=1e-4)


def test_a_run_that_saved_no_tokenizer_is_refused(made, place, networks):
    for name, part in (("outside-simvq", WEIGHTS), ("nsvq", "bundle")):
        saved = made / name / part
        saved.rename(aside := saved.with_name("aside"))
        try:
            with pytest.raises(CheckpointError, match=f"holds no finished tokenizer.*{name}"):
                judge(all_runs()[name], STUDY, networks, made)
        finally:
            aside.rename(saved)

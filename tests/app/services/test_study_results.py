"""The study's results for the page."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
import pytest

from app.services import study_results
from app.tabs import compare_study
from core.paths import ROOT
from tests.app.ui.test_plot import values


def result(name: str, **changes: object) -> dict:
    return {
        "name": name,
        "label": name.upper(),
        "group": "main",
        "method": name,
        "codes": 1024,
        "seed": 0,
        "kind": "ours",
        "note": "a note",
        "utilization": 0.5,
        "perplexity": 200.0,
        "psnr": 21.5,
        "ssim": 0.6,
        "feature_distance": 0.4,
        "fd": 900.0,
        "step_ms": 700.0,
        "peak_mb": None,
        **changes,
    }


def test_the_studys_results_become_charts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        result("vqgan"),
        result("regvq", peak_mb=800.0),
        result("regvq-mask0", group="mask", method="regvq"),
        result("outside-simvq", kind="outside", psnr=float("nan")),
        {"name": "no figures"},
    ]
    series = {"regvq": [[0.4, "regvq"], [0.0, "regvq-mask0"], [1.0, "never made"]]}
    sweeps = [
        {"name": "mask", "title": "Mask", "axis": "share", "series": series},
        {"name": "size", "title": "Size", "axis": "codes", "series": {"vq": [[1024, "vqgan"]]}},
    ]
    groups = [{"name": "main", "title": "1,024 codes"}]
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"runs": runs, "sweeps": sweeps, "groups": groups}))
    monkeypatch.setattr(study_results, "RESULTS", file)
    page = study_results.study_view()
    made = {run["name"]: run for run in page["runs"]}
    assert list(made) == ["vqgan", "regvq", "regvq-mask0", "outside-simvq"]
    assert made["vqgan"]["values"] == {
        "utilization": 50.0,
        "perplexity": 200.0,
        "psnr": 21.5,
        "ssim": 0.6,
        "feature_distance": 0.4,
        "fd": 900.0,
        "step_ms": 700.0,
        "codes": 1024.0,
    }
    assert "psnr" not in made["outside-simvq"]["values"] and made["outside-simvq"]["external"]
    assert [run["family"] for run in page["runs"]] == ["vq", "regvq", "regvq", "simvq"]
    assert {"peak_mb", "fd"} <= {axis["key"] for axis in page["axes"]}
    assert page["parts"] == {"main": "1,024 codes"}
    (sweep,) = page["sweeps"]  # a single point is not a line
    assert sweep["lines"][0]["points"] == [(0.0, "regvq-mask0"), (0.4, "regvq")]


@pytest.mark.parametrize("text", ["{", "[1]", '{"runs": 3}'])
def test_unreadable_results_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "results.json"
    monkeypatch.setattr(study_results, "RESULTS", file)
    assert study_results.study_view() == {"empty": study_results.NOT_RUN}
    file.write_text(text)
    assert study_results.study_view()["problem"].startswith(
        "results.json of the study cannot be read"
    )


def test_an_installation_without_the_results_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_results, "RESULTS", tmp_path / "docs" / "study" / "results.json")
    monkeypatch.setattr(study_results, "IN_TREE", False)
    found = compare_study.show(None, None, None)
    assert found[0]["none"] == study_results.NOT_INSTALLED
    assert "not part of the installation" in found[0]["none"]
    assert all(one["none"] == "" for one in found[1:])


def test_the_results_of_this_project_are_shown() -> None:
    if not (ROOT / "docs" / "study" / "results.json").is_file():
        pytest.skip("the study has not been run")
    view = study_results.study_view()
    assert len(view["runs"]) > 10 and {"psnr", "perplexity"} <= {
        axis["key"] for axis in view["axes"]
    }
    assert study_results.first_axes(view) == ("perplexity", "lpips_vgg")
    scatter, bars, *sweeps = compare_study.show("perplexity", "psnr", "main")
    main = [run for run in view["runs"] if run["group"] == "main"]
    drawn = {
        row[0]: (x, y)
        for one in scatter["figure"]["data"]
        for row, x, y in zip(one["customdata"], values(one["x"]), values(one["y"]), strict=True)
    }
    known = {
        run["label"]: (run["values"]["perplexity"], run["values"]["psnr"])
        for run in main
        if {"perplexity", "psnr"} <= run["values"].keys()
    }
    assert drawn == known and known
    best = max(main, key=lambda run: run["values"].get("psnr", 0))
    assert bars["figure"]["layout"]["yaxis"]["ticktext"][0].startswith(best["label"])
    for one, sweep in zip(sweeps, view["sweeps"], strict=True):
        assert (
            one["figure"]["layout"]["meta"]["about"] == f"{sweep['title']}: PSNR by {sweep['axis']}"
        )
    with pytest.raises(gr.Error, match="axis must be one of"):
        compare_study.show("taste", "psnr", "main")


def test_a_line_names_the_features_of_distances_that_runs_were_trained_on() -> None:
    if not (ROOT / "docs" / "study" / "results.json").is_file():
        pytest.skip("the study has not been run")
    features = study_results.study_view()["features"]
    told = f"SqueezeNet's distances: {features}, on which the runs were trained."
    for across, up in (("perplexity", "fd"), ("feature_distance", "psnr")):
        assert compare_study.show(across, up, "main")[0]["note"] == told
    for across, up in (("perplexity", "lpips_vgg"), ("alexnet_fd", "psnr")):
        assert "SqueezeNet" not in compare_study.show(across, up, "main")[0]["note"]

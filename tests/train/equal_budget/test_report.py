"""RESULTS.md and its charts, written from the figures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from core import plots
from core.plots.rows import Column
from tests.e2e.harness import find_chromium
from tests.train.equal_budget.conftest import MADE, result_of, results_of_every_run
from train.equal_budget import report
from train.equal_budget.catalog import all_runs
from train.equal_budget.spread import SEEDS, spread
from train.study import main


@pytest.fixture
def saved(monkeypatch) -> dict:
    """Charts by name that were saved, which takes a browser."""
    found = {}

    def save(figures, width):
        for path, figure in figures.items():
            found[path.stem] = figure
            path.write_text("<svg/>")

    monkeypatch.setattr(report, "save_figures", save)
    return found


@pytest.mark.browser
def test_charts_are_drawn_as_svg_in_a_browser(tmp_path):
    if find_chromium() is None:
        pytest.skip("no Chromium was found")
    figures = {
        tmp_path / "rows.svg": plots.plot_rows(
            ["VQ", "Reg-VQ"], [0, 1], [Column("PSNR", [20.0, 21.0], "{:.2f}".format)]
        ),
        tmp_path / "panels.svg": plots.plot_panels("mask", [("PSNR", {"VQ": [(0, 1), (1, 2)]})]),
    }
    plots.save_figures(figures, 900)
    for path in figures:
        words = [
            "".join(one.itertext())
            for one in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
        ]
        assert "PSNR" in words
    assert {"VQ", "Reg-VQ", "20.00", "21.00"} <= {
        "".join(one.itertext()).strip()
        for one in ElementTree.parse(tmp_path / "rows.svg").iter("{http://www.w3.org/2000/svg}text")
    }


def test_the_report_shows_the_figures(made, tmp_path, saved):
    out = results_of_every_run(tmp_path, made, regvq={"squeezenet_fd": 1234.4, "psnr": 17.77})
    timing = {"name": "regvq", "step_ms": 321.0, "peak_mb": 456.0, "threads": 1}
    (out / "regvq" / "timing.json").write_text(json.dumps(timing), encoding="utf-8")
    main(["report", "--out", str(out), "--to", str(tmp_path / "to")])
    text = (tmp_path / "to" / "RESULTS.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| Reg-VQ (prior, mask, PCL)"))
    for figure in ("50.0%", "17.77", "**1,234**", "321", "456"):
        assert figure in row
    charts = tmp_path / "to" / "docs" / "study"
    for name in ("main", "large", "fast", "levels", "mask", "alpha", "tau", "size"):
        assert f"docs/study/{name}.svg" in text
        assert (charts / f"{name}.svg").exists()
    labels = [text.strip() for text in saved["main"].layout.yaxis.ticktext]
    psnr = [trace for trace in saved["main"].data if trace.name == "PSNR, dB"]
    shown = {row[0]: row[1] for trace in psnr for row in trace.customdata}
    assert set(shown) == set(labels) and shown["Reg-VQ (prior, mask, PCL)"] == 17.77
    assert saved["mask"].data[0].name.startswith("Reg-VQ")
    written = json.loads((charts / "results.json").read_text(encoding="utf-8"))
    assert len(written["runs"]) == len(all_runs())
    # The same report from the JSON alone.
    main(["report", "--results", str(charts / "results.json"), "--to", str(tmp_path / "b")])
    assert (tmp_path / "b" / "RESULTS.md").read_text(encoding="utf-8") == text
    assert str(tmp_path) not in text + json.dumps(written)


def test_the_report_names_missing_runs(made, tmp_path, saved):
    main(["report", "--out", str(made), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert f"{len(all_runs()) - len(MADE)} of {len(all_runs())} runs" in text
    assert "`gumbel`" in text and "`vqgan`" not in text
    assert "⬜ open" in text


def test_studies_on_other_pictures_have_their_own_tables(made, tmp_path, saved):
    other = tmp_path / "streets"
    runs = (("vqgan", 200.0), ("regvq", 150.0), ("vqgan-16k-fast", 90.0), ("regvq-16k-fast", 99.0))
    for name, distance in runs:
        found = result_of(made, name.removesuffix("-16k-fast")) | {"name": name}
        if name.endswith("fast"):
            found |= {"codes": 16_384, "codes_rate": 10.0}
        found["figures"] |= {"squeezenet_fd": distance, "psnr": 12.34}
        (other / name).mkdir(parents=True)
        (other / name / "result.json").write_text(json.dumps(found), encoding="utf-8")
    main(["report", "--out", str(made), "--more", str(other), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    part = text[text.index("## On other pictures: streets") :]
    small, large = part.split("| 16,384 codes, 10 times the learning rate for them |")
    assert "| 1,024 codes |" in small
    assert "12.34" in small and "SqueezeNet-FD 0.75 times, PSNR +0.00 dB" in small
    assert "12.34" in large and "SqueezeNet-FD 1.10 times" in large
    results = tmp_path / "docs" / "study" / "results.json"
    main(["report", "--results", str(results), "--to", str(tmp_path / "again")])
    assert (tmp_path / "again" / "RESULTS.md").read_text(encoding="utf-8") == text


def test_the_report_opens_with_ten_lines_from_the_figures(made, tmp_path, saved):
    fast = {f"vqgan{end}": {"squeezenet_fd": 2400.0 + 10 * k} for k, end in enumerate(SEEDS)}
    levels = {"vq-residual2": {"squeezenet_fd": 1500.4, "psnr": 23.45}}
    low = {"fsq": {"squeezenet_fd": 1900.6, "psnr": 22.22}, "vqgan-uniform": {"utilization": 0.008}}
    out = results_of_every_run(tmp_path, made, **fast, **levels, **low)
    main(["report", "--out", str(out), "--to", str(tmp_path)])
    lines = (tmp_path / "RESULTS.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and lines[1] == "" and lines[12] == ""
    said = {line.split(":**")[0].removeprefix("- **"): line for line in lines[2:12]}
    assert len(said) == 10
    assert [subject for subject, line in said.items() if "not run yet" in line] == [
        "Tokens for a prior"
    ]
    assert "FSQ (1,901, 22.22 dB)" in said["1,024 codes"]
    assert "Residual VQ, 2 x 256 codes (1,500, 23.45 dB)" in said["16 bits per position"]
    assert "plain VQ uses 0.8% of 1,024 codes" in said["Collapse"]
    found = json.loads((tmp_path / "docs" / "study" / "results.json").read_text(encoding="utf-8"))
    assert f"{spread(found['runs']).threshold('fd'):.0f} or PSNR" in said["Care"]
    verdicts = {claim["name"]: claim["verdict"] for claim in found["claims"]}
    assert verdicts["nsvq-fid"] in said["NSVQ against SimVQ"]


def test_verdicts_on_other_features_stand_beside_the_first_ones(made, tmp_path, saved):
    fast = {f"vqgan{end}": {"squeezenet_fd": 2000.0 + 10 * k} for k, end in enumerate(SEEDS)}
    out = results_of_every_run(tmp_path, made, **fast)
    main(["report", "--out", str(out), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "no run trained on" not in text.split("## The papers' claims")[1].split("\n## ")[0]
    for name in all_runs():
        distance = 10 + 2 * ("regvq" in name) + name.startswith("vqgan-seed")
        near = 0.1 if name in ("fsq", "vqgan") else 0.2
        judged = {"lpips_alex": 0.3, "lpips_vgg": near, "alexnet_fd": distance}
        (out / name / "judged.json").write_text(json.dumps(judged), encoding="utf-8")
    main(["report", "--out", str(out), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    found = json.loads((tmp_path / "docs" / "study" / "results.json").read_text(encoding="utf-8"))
    elsewhere = found["claims_elsewhere"]
    limit = spread(found["runs"]).threshold("alexnet_fd")
    part = text.split("### The same on features that no run trained on")[1].split("\n## ")[0]
    assert f"decided from {limit:.1f} on" in part
    assert all(f"| {claim['claim']} | {claim['ours']} |" in part for claim in elsewhere)
    assert "12.0 / 10.0 = " in part
    verdicts = {claim["name"]: claim["verdict"] for claim in found["claims"]}
    same = sum(claim["verdict"] == verdicts[claim["name"]] for claim in elsewhere)
    assert 0 < same < len(elsewhere)
    opening = text.split("\n## ")[0]
    assert f"{same} of {len(elsewhere)} on distances are the same" in opening
    assert "Lowest LPIPS (VGG-16): VQ-GAN (0.100), FSQ (0.100), " in opening

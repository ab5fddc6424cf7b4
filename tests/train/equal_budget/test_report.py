"""RESULTS.md and its charts, written from the figures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

from tests.train.equal_budget.conftest import MADE, result_of, results_of_every_run
from train.equal_budget.catalog import all_runs
from train.study import main


def test_the_report_shows_the_figures(made, tmp_path):
    out = results_of_every_run(tmp_path, made, regvq={"squeezenet_fd": 1234.4, "psnr": 17.77})
    timing = {"name": "regvq", "step_ms": 321.0, "peak_mb": 456.0, "threads": 1}
    (out / "regvq" / "timing.json").write_text(json.dumps(timing), encoding="utf-8")
    main(["report", "--out", str(out), "--to", str(tmp_path / "to")])
    text = (tmp_path / "to" / "RESULTS.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| Reg-VQ (prior, mask, PCL)"))
    for figure in ("50.0%", "17.77", "**1,234**", "321", "456"):
        assert figure in row
    charts = tmp_path / "to" / "docs" / "study"
    for name in ("main", "large", "fast", "long", "steps", "mask", "alpha", "tau", "size"):
        assert f"docs/study/{name}.svg" in text
        ElementTree.parse(charts / f"{name}.svg")
    written = json.loads((charts / "results.json").read_text(encoding="utf-8"))
    assert len(written["runs"]) == len(all_runs())
    # The same report from the JSON alone.
    main(["report", "--results", str(charts / "results.json"), "--to", str(tmp_path / "b")])
    assert (tmp_path / "b" / "RESULTS.md").read_text(encoding="utf-8") == text
    assert str(tmp_path) not in text + json.dumps(written)


def test_the_report_names_missing_runs(made, tmp_path):
    main(["report", "--out", str(made), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert f"{len(all_runs()) - len(MADE)} of {len(all_runs())} runs" in text
    assert "`gumbel`" in text and "`vqgan`" not in text
    assert "⬜ open" in text


def test_studies_on_other_pictures_have_their_own_tables(made, tmp_path):
    other = tmp_path / "streets"
    for name, distance in (("vqgan", 200.0), ("regvq", 150.0)):
        found = result_of(made, name)
        found["figures"] |= {"squeezenet_fd": distance, "psnr": 12.34}
        (other / name).mkdir(parents=True)
        (other / name / "result.json").write_text(json.dumps(found), encoding="utf-8")
    main(["report", "--out", str(made), "--more", str(other), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    part = text[text.index("## On other pictures: streets") :]
    assert "12.34" in part and "SqueezeNet-FD 0.75 times, PSNR +0.00 dB" in part
    results = tmp_path / "docs" / "study" / "results.json"
    main(["report", "--results", str(results), "--to", str(tmp_path / "again")])
    assert (tmp_path / "again" / "RESULTS.md").read_text(encoding="utf-8") == text

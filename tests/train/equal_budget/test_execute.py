"""Runs of two steps: their results and their timings."""

from __future__ import annotations

import json

import numpy as np

from tests.train.equal_budget.conftest import MADE, result_of, run_study
from train.equal_budget.results import gather


def test_runs_share_budget_and_draws_and_measure_their_tokenizers(made):
    results = [result_of(made, name) for name in MADE]
    assert len({r["draws"] for r in results}) == 1
    assert len({r["parameters"]["network"] for r in results}) == 1
    assert all(r["budget"] == results[0]["budget"] for r in results)
    for name, found in zip(MADE, results, strict=True):
        figures = found["figures"]
        assert figures["images"] == 2 and figures["tokens"] == 2 * 12 * 16
        assert np.isfinite([figures[k] for k in ("psnr", "ssim", "squeezenet_fd")]).all()
        counts = np.load(made / name / "counts.npy")
        assert counts.sum() == figures["tokens"]
        assert (counts > 0).sum() == figures["codes_used"]
    assert result_of(made, "nsvq")["training"]["frozen_at"] == 2
    assert result_of(made, "regvq")["training"]["frozen_at"] is None


def test_timing_is_in_the_gathered_results(made, place, monkeypatch):
    monkeypatch.setattr("train.equal_budget.execute.TIMED", 2)
    monkeypatch.setattr("train.equal_budget.execute.UNSTEADY", 1)

    def peak(train):  # earlier tests of this process left free memory that a step may reuse
        train()
        return 7e6

    monkeypatch.setattr("train.equal_budget.execute.extra_peak", peak)
    run_study(place, "timing", "--jobs", "0", "--only", "vqgan")
    found = json.loads((made / "vqgan" / "timing.json").read_text(encoding="utf-8"))
    assert found["step_ms"] > 0 and found["peak_mb"] == 7
    row = next(row for row in gather(made)["runs"] if row["name"] == "vqgan")
    assert row["timed"] and row["step_ms"] == found["step_ms"]
    (made / "vqgan" / "timing.json").unlink()

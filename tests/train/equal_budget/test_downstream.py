"""The downstream test: priors on the study's tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.errors import CheckpointError
from tests.train.equal_budget.conftest import run_study, verdict_of
from train.equal_budget.results import gather
from train.study import main


def test_priors_are_measured_by_what_they_generate(made, place, tmp_path):
    words = ("--prior.width", "16", "--prior.layers", "1", "--prior.heads", "2", "--prior.steps",
             "2", "--prior.batch", "4", "--prior.augmentations", "2", "--prior.pictures",
             "6")  # fmt: skip
    run_study(place, "downstream", "--only", "vqgan", "regvq", *words)
    files = {name: made / name / "downstream.json" for name in ("vqgan", "regvq")}
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    for one in found.values():
        assert np.isfinite([one["generation_fd"], one["reconstruction_fd"]]).all()
        assert one["generation_fd"] > 0 and 0 < one["bits_per_token"] < 20
    rows = {row["name"]: row for row in gather(made)["runs"]}
    assert rows["regvq"]["generation_fd"] == found["regvq"]["generation_fd"]
    assert verdict_of("generation-regvq", made) == "undecided"  # of one seed
    main(["report", "--out", str(made), "--to", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "1 layers of 16" in text and "2 steps of 4 crops" in text
    # Priors of different budgets are not compared.
    found["vqgan"]["settings"]["steps"] = 3
    files["vqgan"].write_text(json.dumps(found["vqgan"]), encoding="utf-8")
    with pytest.raises(CheckpointError, match="different settings"):
        gather(made)
    for file in files.values():
        file.unlink()

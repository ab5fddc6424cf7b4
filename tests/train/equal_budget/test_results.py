"""Results of a study, read together."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from core.errors import CheckpointError
from tests.train.equal_budget.conftest import result_of, results_of_every_run, run_study
from train.equal_budget.catalog import all_runs
from train.equal_budget.results import gather


def test_different_budgets_are_refused(made, tmp_path):
    out = results_of_every_run(tmp_path, made)
    file = out / "simvq" / "result.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    for key, value in (
        ("budget", found["budget"] | {"steps": 999}),
        ("draws", "other"),
        ("parameters", {"network": 1, "quantizer": 1}),
    ):
        file.write_text(json.dumps(found | {key: value}), encoding="utf-8")
        with pytest.raises(CheckpointError, match="simvq"):
            gather(out)
    file.write_text(json.dumps(found), encoding="utf-8")
    assert len(gather(out)["runs"]) == len(all_runs())


def test_longer_runs_belong_to_the_same_study(made, place, tmp_path):
    run_study(place, "run", "--jobs", "0", "--only", "vqgan-long")
    found = result_of(made, "vqgan-long")
    assert found["budget"]["steps"] == 4 * 2
    short, long = (sorted((made / "draws").glob(f"*-{n}.npy")) for n in (4, 16))
    assert np.array_equal(np.load(short[0]), np.load(long[0])[:4])
    gathered = gather(made)
    assert gathered["shared"]["budget"]["steps"] == 2
    row = next(row for row in gathered["runs"] if row["name"] == "vqgan-long")
    assert row["group"] == "long" and row["steps"] == 4 * 2
    assert row["codes_rate"] == 10 and result_of(made, "vqgan")["codes_rate"] == 1
    shutil.rmtree(made / "vqgan-long")

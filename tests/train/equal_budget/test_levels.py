"""Residual and product codes in the study: tiny runs, their figures, priors and bundles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from tests.train.equal_budget.conftest import result_of, run_study
from train.equal_budget.results import gather
from train.equal_budget.sections import group_table
from train.equal_budget.spread import Spread
from train.study import main

NAMES = ("vq-residual2", "vq-product4")


@pytest.fixture(scope="module")
def place_with_levels(place: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study, in which runs with levels are finished, too."""
    root = tmp_path_factory.mktemp("levels")
    for name in ("photos", "weights.npz"):
        (root / name).symlink_to(place / name)
    shutil.copytree(made, root / "out")
    run_study(root, "run", "--jobs", "0", "--only", *NAMES)
    return root


@pytest.fixture(scope="module")
def leveled(place_with_levels: Path) -> Path:
    return place_with_levels / "out"


def test_runs_with_levels_are_measured_beside_the_others(
    leveled: Path, place_with_levels: Path
) -> None:
    for name, levels, codes in zip(NAMES, (2, 4), (256, 16), strict=True):
        result = result_of(leveled, name)
        assert result["codes"] == codes
        assert result["levels"]["residual"] * result["levels"]["groups"] == levels
        assert result["figures"]["bits_per_position"] == 16
        assert len(result["figures"]["per_level"]) == levels
        assert np.load(leveled / name / "counts.npy").shape == (levels, codes)
        assert load_tokenizer(leveled / name).levels == levels
        assert result["budget"] == result_of(leveled, "vqgan")["budget"]
        assert result["draws"] == result_of(leveled, "vqgan")["draws"]
    assert "levels" not in result_of(leveled, "vqgan")
    found = gather(leveled)
    rows = {row["name"]: row for row in found["runs"]}
    assert rows["vq-product4"]["levels"]["groups"] == 4 and "levels" not in rows["vqgan"]
    table = "\n".join(group_table(found, "levels", {}, Spread({}, {})))
    assert "16 bits per position" in table
    assert "| Residual VQ, 2 x 256 codes |" in table and "| Product VQ, 4 x 16 codes |" in table
    before = (leveled / NAMES[0] / "result.json").stat().st_mtime_ns
    run_study(
        place_with_levels, "run", "--jobs", "0", "--only", NAMES[0]
    )  # finished: it is not repeated
    assert (leveled / NAMES[0] / "result.json").stat().st_mtime_ns == before


def test_a_run_with_levels_is_shipped_without_an_atlas(leveled: Path, tmp_path: Path) -> None:
    main(["ship", "--only", NAMES[0], "--out", str(leveled), "--to", str(tmp_path)])
    bundle = find_bundle(tmp_path / f"study-{NAMES[0]}")
    assert not bundle.atlas
    assert "2 ids per position of 8.00 bits each" in bundle.card
    assert json.loads((bundle.path / "metrics.json").read_text())["levels"] == 2

"""A study of two steps on tiny pictures, made once for the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.core.networks.test_networks import keras_like
from train.equal_budget.catalog import all_runs
from train.equal_budget.claims import claims
from train.equal_budget.execute import described
from train.equal_budget.results import gather
from train.equal_budget.runs import Study
from train.study import main

STUDY = Study(Path("photos"))
MADE = ("vqgan", "regvq", "nsvq", "outside-simvq")


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with train/ and test/ pictures and a file of random weights."""
    root = tmp_path_factory.mktemp("study")
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        (root / "photos" / split).mkdir(parents=True)
        for index in range(count):
            coarse = draw.integers(0, 255, (5, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
            picture.save(root / "photos" / split / f"{index}.png")
    keras_like(root)
    return root


def run_study(place: Path, *words: str) -> None:
    """Run train/study.py in this process, with the settings of the small study."""
    shared = [
        "--study.root", str(place / "photos"), "--study.weights", str(place / "weights.npz"),
        "--study.steps", "2", "--study.batch", "2", "--study.size", "32",
        "--study.widths", "8", "16", "--study.limit", "2", "--out", str(place / "out"),
    ]  # fmt: skip
    main([words[0], *shared, *words[1:]])


@pytest.fixture(scope="session")
def made(place) -> Path:
    """The folder of a study in which some runs are finished."""
    run_study(place, "run", "--jobs", "0", "--only", *MADE)
    return place / "out"


def result_of(out: Path, name: str) -> dict:
    """Return what a finished run wrote."""
    return json.loads((out / name / "result.json").read_text(encoding="utf-8"))


def results_of_every_run(tmp_path: Path, made: Path, **changes: dict) -> Path:
    """Write a result of every run: that of one run with other figures."""
    base, out = result_of(made, "vqgan"), tmp_path / "runs"
    for number, run in enumerate(all_runs().values()):
        figures = base["figures"] | {"psnr": 20 + number / 100, "squeezenet_fd": 2000.0 + number}
        figures |= {"utilization": 0.5, "perplexity": 100.0}
        figures |= changes.get(run.name, {})
        found = base | described(run, STUDY) | {"figures": figures}
        (out / run.name).mkdir(parents=True)
        (out / run.name / "result.json").write_text(json.dumps(found), encoding="utf-8")
    return out


def verdict_of(name: str, out: Path) -> str:
    """Return the verdict on a claim."""
    return {claim.name: claim.verdict for claim in claims(gather(out)["runs"])}[name]

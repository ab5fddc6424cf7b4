"""Bundles of a study's tokenizers."""

from __future__ import annotations

import json

import pytest

from core.bundles.bundle import find_bundle, list_bundles
from core.checkpoints import load_tokenizer
from core.paths import ROOT
from core.quantizers import RegVQConfig
from tests.train.equal_budget.conftest import result_of
from train.equal_budget.flags import DownstreamFlags, ShipFlags
from train.equal_budget.runs import Study
from train.study import main


def test_shipped_tokenizers_are_the_measured_ones(made, place, tmp_path):
    main(
        [
            "ship",
            "--only",
            "regvq",
            "--out",
            str(made),
            "--to",
            str(tmp_path),
            "--data",
            "six drawn pictures",
            "--terms",
            "as you like",
        ]
    )
    bundle = find_bundle(tmp_path / "study-regvq")
    assert isinstance(load_tokenizer(bundle).config.quantizer, RegVQConfig)
    assert bundle.metrics["psnr"] == result_of(made, "regvq")["figures"]["psnr"]
    assert bundle.atlas["counts"].sum() == bundle.metrics["tokens"]
    for said in ("six drawn pictures", "as you like", "study.py run", "--only regvq"):
        assert said in bundle.card
    assert str(place) not in bundle.card + json.dumps(bundle.config)


@pytest.mark.parametrize(("name", "said"), [("outside-simvq", "another"), ("fsq", "fsq"),
                                            ("vqgam", "not a run")])  # fmt: skip
def test_unshippable_runs_are_refused(made, tmp_path, name, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["ship", "--only", name, "--out", str(made), "--to", str(tmp_path)])
    assert stop.value.code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_commands_without_names_repeat_what_is_shipped() -> None:
    shipped = {bundle.name for bundle in list_bundles(ROOT / "checkpoints")}
    assert {f"study-{name}" for name in ShipFlags().only} == {
        name for name in shipped if name.startswith("study-")
    }
    results = ROOT / "docs" / "study" / "results.json"
    rows = json.loads(results.read_text(encoding="utf-8"))["runs"]
    generated = {row["name"] for row in rows if row["generation_fd"] is not None}
    assert set(DownstreamFlags(Study(ROOT)).only) == generated

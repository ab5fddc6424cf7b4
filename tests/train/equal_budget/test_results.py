"""Results of a study, read together."""

from __future__ import annotations

import json

import pytest

from core.errors import CheckpointError
from tests.train.equal_budget.conftest import results_of_every_run
from train.equal_budget.catalog import all_runs
from train.equal_budget.results import gather, joined


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


def test_a_run_made_before_a_setting_existed_has_its_default(made, tmp_path):
    out = results_of_every_run(tmp_path, made)
    file = out / "simvq" / "result.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    del found["budget"]["network"]["last_width"]
    file.write_text(json.dumps(found), encoding="utf-8")
    assert len(gather(out)["runs"]) == len(all_runs())


def test_new_runs_join_earlier_results(made, tmp_path):
    changed = {"vqgan": {"psnr": 11.0}, "regvq-mask0": {"psnr": 12.0}}
    every = gather(results_of_every_run(tmp_path, made, **changed))
    earlier = json.loads(json.dumps(every))
    earlier["elsewhere"] = ["kept"]
    earlier["runs"] = [row for row in earlier["runs"] if row["name"] != "bsq"]
    earlier["runs"].append(earlier["runs"][0] | {"name": "struck from the catalog"})
    for newer in ("norm", "last_width"):  # settings that the earlier version did not have
        del earlier["shared"]["budget"]["network"][newer]
    del earlier["shared"]["draws"]
    fresh = every | {"runs": [r for r in every["runs"] if r["name"] in ("bsq", "regvq-mask0")]}
    fresh["runs"][0] = fresh["runs"][0] | {"psnr": 13.0}
    found = joined(fresh, earlier)
    assert [row["name"] for row in found["runs"]] == list(all_runs())
    psnr = {row["name"]: row["psnr"] for row in found["runs"]}
    assert psnr["vqgan"] == 11.0 and psnr["regvq-mask0"] == 13.0 and "bsq" in psnr
    assert found["elsewhere"] == ["kept"] and found["shared"]["draws"] == every["shared"]["draws"]
    mask = next(sweep for sweep in found["sweeps"] if sweep["name"] == "mask")
    assert len(mask["series"]["regvq"]) == 6
    # What only the earlier row has stays, generated pictures only those of the same tokenizer.
    alone = {"timed": True, "step_ms": 5.0, "peak_mb": 6.0, "generation_fd": 7.0, "lpips_vgg": 8.0}
    earlier["runs"] = [row | alone for row in earlier["runs"]]
    rows = {row["name"]: row for row in joined(fresh, earlier)["runs"]}
    assert rows["regvq-mask0"]["psnr"] == 13.0 and rows["regvq-mask0"]["step_ms"] == 5.0
    assert rows["regvq-mask0"]["timed"] and rows["regvq-mask0"]["generation_fd"] is None
    fresh["runs"][0] = fresh["runs"][0] | {"psnr": 12.0, "lpips_vgg": 9.0}
    rows = {row["name"]: row for row in joined(fresh, earlier)["runs"]}
    assert rows["regvq-mask0"]["generation_fd"] == 7.0 and rows["regvq-mask0"]["lpips_vgg"] == 9.0
    for key, value in (
        ("budget", every["shared"]["budget"] | {"steps": 999}),
        ("draws", {"0": "other"}),
        ("images", 7),
    ):
        other = earlier | {"shared": earlier["shared"] | {key: value}}
        with pytest.raises(CheckpointError, match=key):
            joined(fresh, other)

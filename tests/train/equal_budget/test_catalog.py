"""Runs of the study: equal budgets, sizes of codebooks, sweeps and combinations."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from core.quantizers import BSQConfig, DiVeQConfig, FSPConfig, NSVQConfig
from tests.train.equal_budget.conftest import STUDY
from train.equal_budget.catalog import all_runs, chosen, sweeps
from train.equal_budget.runs import CODES, LARGE, budget


def test_every_run_has_the_same_budget():
    budgets = set()
    for run in all_runs().values():
        shared = budget(run.config(STUDY))
        assert run.config(STUDY).codes_rate == run.codes_rate
        budgets.add(json.dumps(shared, sort_keys=True))
    assert len(budgets) == 1
    shared = json.loads(budgets.pop())
    assert shared["steps"] == STUDY.steps and shared["loss"]["perceptual"] > 0
    assert not any("contrastive" in key for key in shared["loss"])
    for run in all_runs().values():
        config = run.config(STUDY)
        assert config.seed == run.seed
        assert (config.stages is not None) == run.staged
        assert config.loss.contrastive == run.contrastive


def test_codebooks_have_the_size_of_their_group():
    near = {"large": LARGE, "large-fast": LARGE, "size": 4096}
    for run in all_runs().values():
        if run.group == "levels":
            continue
        size = run.config(STUDY).tokenizer.quantizer.size
        wanted = LARGE if "-16k-seed" in run.name else near.get(run.group, CODES)
        assert size == wanted or (run.method in ("fsq", "fsp") and 0.9 * wanted < size < wanted)


def test_codes_of_levels_have_equal_bits():
    runs = chosen(all_runs(), ["levels"], [])
    kinds = [(run.levels.residual, run.levels.groups, run.quantizer.size) for run in runs]
    assert kinds == [(1, 1, 65_536), (2, 1, 256), (1, 2, 256), (4, 1, 16), (1, 4, 16)]
    for run in runs:
        config = run.config(STUDY).tokenizer
        assert config.levels == run.levels
        assert config.levels.count * math.log2(config.quantizer.size) == 16
        assert replace(run.quantizer, size=1024) == all_runs()["vqgan"].quantizer


def test_the_newest_methods_have_a_row_after_all_others():
    names = list(all_runs())
    for method, kind in (("bsq", BSQConfig), ("diveq", DiVeQConfig), ("fsp", FSPConfig)):
        run = all_runs()[method]
        assert type(run.quantizer) is kind and run.group == "main" and run.kind == "ours"
        assert run.config(STUDY).tokenizer.quantizer == run.quantizer
        assert names.index(method) > names.index("vq-restart")


def test_an_epoch_of_nsvq_is_long_enough_to_find_dead_codes():
    for name in ("nsvq", "nsvq-4k", "nsvq-16k"):
        config = all_runs()[name].config(STUDY)
        quantizer = config.tokenizer.quantizer
        assert quantizer.epoch * STUDY.tokens >= 2 * quantizer.size
        first = quantizer.epoch * (quantizer.replacement_warmup + 1)
        assert first <= config.stages.latest * STUDY.steps  # replacement happens before the freeze


def test_sweeps_name_existing_runs_and_vary_their_setting():
    runs = all_runs()
    for sweep in sweeps():
        for points in sweep.points.values():
            for value, name in points:
                settings = runs[name].quantizer
                key = "mask_ratio" if sweep.name == "mask" else sweep.name
                assert getattr(settings, key) == pytest.approx(value)
    assert [run.name for run in chosen(runs, ["mask"], ["regvq-mask0"])] == ["regvq-mask0"]


def test_combinations_have_the_settings_of_their_parts():
    runs = all_runs()
    assert runs["nsvq-mask"].quantizer == NSVQConfig(size=CODES, mask_ratio=0.4)
    assert runs["regvq-stages"].config(STUDY).stages is not None
    assert runs["regvq-stages"].contrastive == runs["regvq"].contrastive == "pcl"
    assert {r.kind for r in runs.values() if r.method.startswith("outside")} == {"outside"}

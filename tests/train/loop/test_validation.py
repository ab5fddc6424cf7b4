"""Held-out figures while training, the best checkpoint, warnings, and the words of a run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain

import pytest
import torch

from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.data import center, open_dataset
from core.metrics.reconstruction import evaluate_tokenizer
from core.quantizers import FSQConfig, RegVQConfig, VQConfig
from tests.train.loop.test_tokenizer import config, pictures
from train.cli.closing import closing_lines
from train.config.tokenizer import DataConfig
from train.loop.health import dying_codes
from train.loop.tokenizer import TokenizerTrainer
from train.loop.validation import HeldOut, share_of_held_out

__all__ = ["pictures"]


def rows(out) -> dict[int, dict[str, float]]:
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return {line["step"]: line for line in lines if "validation_psnr" in line}


def test_the_whole_held_out_set_is_measured_and_the_best_kept(tmp_path, pictures, monkeypatch):
    run = config(pictures, steps=6, save_every=2, validate_every=2, log_every=100)
    scores = iter((20.0, 30.0, 25.0))
    validate = TokenizerTrainer._validate

    def scored(self):
        return validate(self) | {"validation_psnr": next(scores)}

    monkeypatch.setattr(TokenizerTrainer, "_validate", scored)
    trainer = TokenizerTrainer(run, tmp_path / "run")
    trainer.train()
    found = rows(tmp_path / "run")
    assert {step: row["validation_psnr"] for step, row in found.items()} == {2: 20, 4: 30, 6: 25}
    best = find_bundle(tmp_path / "run/best")
    assert best.metrics["step"] == 4 == trainer.best()
    last = find_bundle(tmp_path / "run")
    assert last.metrics["step"] == 6
    assert [row["step"] for row in last.metrics["validation"]] == [2, 4, 6]
    assert last.metrics["validation"][1]["validation_psnr"] == 30
    assert "the best checkpoint, of step 4, is" in closing_lines(run, tmp_path / "run", 4)[0]


def test_validation_is_the_evaluation_of_all_center_squares(tmp_path, pictures):
    run = config(pictures, steps=2, save_every=1, validate_every=1, log_every=100)
    run = replace(run, data=DataConfig("folder", pictures, size=32, workers=0))
    TokenizerTrainer(run, tmp_path / "run").train()
    data = open_dataset("folder", pictures, size=32, split="test")
    squares = [center(data[index], 32).image for index in range(len(data))]
    counts = torch.zeros(32, dtype=torch.int64)
    wanted = evaluate_tokenizer(load_tokenizer(tmp_path / "run"), squares, code_counts=counts)
    last = rows(tmp_path / "run")[2]
    assert last["validation_psnr"] == pytest.approx(wanted["psnr"], abs=0.05)  # half precision
    assert last["validation_utilization"] == pytest.approx(wanted["utilization"], abs=0.05)
    assert last["validation_perplexity"] == pytest.approx(wanted["perplexity"], rel=0.05)


@pytest.mark.parametrize("workers", [0, 2])
def test_squares_are_the_same_when_they_are_kept(pictures, workers):
    (pictures / "05.png").write_bytes(b"no picture")
    data = open_dataset("folder", pictures, size=32)
    squares = HeldOut(data, 32, range(1, 12), workers)
    first, again = list(squares), list(squares)
    assert len(first) == len(again) == 10 and squares._kept is not None
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0], center(data[1], 32).image)


def test_processes_share_the_held_out_set(pictures):
    run, data = config(pictures), range(2500)
    shares = [share_of_held_out(run, data, rank, 3) for rank in range(3)]
    assert sorted(chain(*shares)) == [i * 2500 // 1000 for i in range(1000)]  # none is held out
    scenes = replace(run, data=DataConfig("scenes"))
    shares = [share_of_held_out(scenes, data, rank, 3) for rank in range(3)]
    assert sorted(chain(*shares)) == list(data)


def test_validation_is_that_of_an_uninterrupted_run(tmp_path, pictures):
    run = config(pictures, steps=6, save_every=2, validate_every=3, log_every=100)
    TokenizerTrainer(run, tmp_path / "whole").train()
    TokenizerTrainer(replace(run, stop_after=3), tmp_path / "parts").train()
    TokenizerTrainer(run, tmp_path / "parts").train()
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert list(rows(tmp_path / "whole")) == [4, 6]  # at the first saves after steps 3 and 6
    TokenizerTrainer(replace(run, validate_every=0), tmp_path / "none").train()
    assert rows(tmp_path / "none") == {} and not (tmp_path / "none/best").exists()


@pytest.mark.parametrize(
    ("quantizer", "remedy"),
    [
        (VQConfig(size=32), "--tokenizer.quantizer.restart-below 1"),
        (RegVQConfig(size=32), "--tokenizer.quantizer.prior-weight"),
        (FSQConfig(levels=(4, 8)), "lower --optimizer.lr, or choose a smaller codebook"),
    ],
)
def test_dying_codes_get_one_sentence_with_the_remedy(pictures, quantizer, remedy):
    run = config(pictures, steps=1000)
    run = replace(run, tokenizer=replace(run.tokenizer, quantizer=quantizer))
    words = dying_codes(run, 32, 0.25, 6.0, 0.9, 400)
    assert words.startswith("codes are dying: at step 400 the last 100 steps used 25% of 32 codes")
    assert "(at most 90% before)" in words and remedy in words and words.count(". ") == 0
    assert dying_codes(run, 32, 0.25, 6.0, 0.9, 150) is None  # too early to judge
    assert dying_codes(run, 32, 0.95, 20.0, 0.95, 400) is None
    assert dying_codes(run, 32, 0.6, 9.0, 1.0, 400) is not None  # it held more before
    assert dying_codes(run, 10_000_000, 0.1, 6.0, 0.1, 400) is None  # too few tokens to tell


def test_the_warning_is_printed_once(tmp_path, pictures, capsys, monkeypatch):
    monkeypatch.setattr("train.loop.health.SOONEST", 2)
    run = config(pictures, VQConfig(size=32), steps=6, log_every=1)
    trainer = TokenizerTrainer(run, tmp_path / "run")
    monkeypatch.setattr(
        trainer, "_figures", lambda _: ({"utilization": 0.1, "perplexity": 2.0}, {})
    )
    trainer.train()
    assert capsys.readouterr().err.count("WARNING: codes are dying") == 1


def test_a_run_says_what_it_will_do(tmp_path, pictures, capsys):
    run = config(pictures, steps=6)
    for stop, words in ((3, "stops after step 3"), (None, "goes on at step 4")):
        trainer = TokenizerTrainer(replace(run, stop_after=stop), tmp_path / "run")
        trainer.announces = True
        trainer.train()
        said = capsys.readouterr().out
        assert words in said
    for words in (
        "device     cpu (", "1 process", "folder: 12 pictures, none held out",
        "crops of 32, then 64 pixels", "RegVQ, 32 codes of 4 dimensions, one per 4x4 pixels",
        "6 of 4 pictures; a checkpoint every 100", f"to         {tmp_path / 'run'}",
    ):  # fmt: skip
        assert words in said, said


def test_the_card_states_the_origin(tmp_path, pictures):
    TokenizerTrainer(config(pictures, steps=1), tmp_path / "run").train()
    found = find_bundle(tmp_path / "run")
    assert f"PyTorch {torch.__version__}" in found.card and "Made with" in found.card
    assert found.config["recipe"]["origin"]["torch"] == torch.__version__
    assert math.isfinite(found.metrics["psnr"])

"""Held-out figures while training, the best checkpoint, warnings, and the words of a run."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import pytest
import torch

from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.data import center, open_dataset
from core.metrics.reconstruction import evaluate_tokenizer
from core.quantizers import FSQConfig, RegVQConfig, VQConfig
from core.tokenizer import Tokenizer
from tests.train.loop.test_tokenizer import config, pictures
from train.cli.closing import closing_lines
from train.config.tokenizer import DataConfig
from train.loop import validation
from train.loop.draws import LoaderError
from train.loop.health import dying_codes
from train.loop.tokenizer import TokenizerTrainer
from train.loop.validation import HeldOut, share_of_held_out, validate_tokenizer

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
        (
            FSQConfig(levels=(4, 8)),
            "lower the learning rate (--optimizer.lr) or choose a smaller codebook",
        ),
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


class TwoMaps:
    """Features that stand for pretrained ones."""

    name = "standin"
    label = "Stand-in (no weights)"

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images + 1.1, torch.nn.functional.avg_pool2d(images, 4)]


def test_figures_of_the_held_out_set_are_those_of_its_evaluation(pictures):
    torch.manual_seed(0)
    tokenizer = Tokenizer(config(pictures, VQConfig(size=32)).tokenizer).eval()
    squares = HeldOut(open_dataset("folder", pictures, size=32), 32, range(12))
    counts = torch.zeros(32, dtype=torch.int64)
    wanted = evaluate_tokenizer(tokenizer, list(squares), features=TwoMaps(), code_counts=counts)
    found = validate_tokenizer(tokenizer, squares, TwoMaps(), torch.device("cpu"))
    assert found == {
        "psnr": pytest.approx(wanted["psnr"], rel=1e-12),
        "distance": pytest.approx(wanted["standin_distance"], rel=1e-12),
        "utilization": wanted["utilization"],
        "perplexity": pytest.approx(wanted["perplexity"]),
    }
    assert "distance" not in validate_tokenizer(tokenizer, squares, None, torch.device("cpu"))


def test_held_out_pictures_are_measured_on_the_runs_device(monkeypatch):
    device, asked = torch.device("cpu", 0), []

    def evaluated(*given, device, code_counts, **_):
        asked.append((given, device))
        code_counts[1] += 5
        return {"images": 2, "psnr": 20.0}

    monkeypatch.setattr(validation, "evaluate_tokenizer", evaluated)
    monkeypatch.setattr(validation, "no_counts", lambda _: torch.zeros(4, dtype=torch.int64))
    found = validate_tokenizer("tokenizer", ["a", "b"], None, device)
    assert found == {"psnr": 20.0, "utilization": 0.25, "perplexity": 1.0}
    assert asked == [(("tokenizer", ["a", "b"]), device)] and device != torch.device("cpu")


def test_a_share_without_a_readable_picture_has_no_figures(pictures):
    tokenizer = Tokenizer(config(pictures, VQConfig(size=32)).tokenizer).eval()
    for file in pictures.iterdir():
        file.write_bytes(b"no picture")
    squares = HeldOut(open_dataset("folder", pictures, size=32), 32, range(12))
    assert list(squares) == []
    for share in (squares, HeldOut(squares.pictures, 32, [])):
        assert validate_tokenizer(tokenizer, share, TwoMaps(), torch.device("cpu")) == {}


def test_few_squares_are_kept_and_many_are_read_again(pictures, monkeypatch):
    data = open_dataset("folder", pictures, size=32)
    for room, kept in ((12 * 3 * 32**2, True), (12 * 3 * 32**2 - 1, False)):
        monkeypatch.setattr("train.loop.validation.KEPT", room)
        squares = HeldOut(data, 32, range(12))
        assert len(list(squares)) == len(list(squares)) == 12
        assert (squares._kept is not None) == kept


def test_squares_of_other_channels_take_four_bytes_each(monkeypatch):
    pictures = SimpleNamespace(channels=2)
    for room, kept in ((3 * 2 * 4 * 8**2, True), (3 * 2 * 4 * 8**2 - 1, False)):
        monkeypatch.setattr("train.loop.validation.KEPT", room)
        squares = HeldOut(pictures, 8, range(3))
        monkeypatch.setattr(squares, "_read", lambda: iter([torch.zeros(2, 8, 8)] * 3))
        assert len(list(squares)) == 3 and (squares._kept is not None) == kept


def test_squares_are_whole_although_a_loader_dies(pictures, monkeypatch):
    data = open_dataset("folder", pictures, size=32)
    expected = list(HeldOut(data, 32, range(12)))
    monkeypatch.setattr("train.loop.validation.TOGETHER", 4)
    real = validation.started

    @contextlib.contextmanager
    def dying(loader):
        def some(batches):
            for index, batch in enumerate(batches):
                if index == 2:
                    raise LoaderError("died")
                yield batch

        with real(loader) as batches:
            yield some(batches)

    monkeypatch.setattr(validation, "started", dying)
    found = list(HeldOut(data, 32, range(12)))
    assert len(found) == 12
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_best_is_that_of_the_least_distance_or_else_of_the_most_psnr(tmp_path, pictures):
    trainer = TokenizerTrainer(config(pictures), tmp_path / "run")
    assert trainer._score({"validation_psnr": 21.0, "validation_distance": 0.25}) == -0.25
    assert trainer._score({"validation_psnr": 21.0}) == 21.0
    assert trainer._score({"step": 3}) is None


def test_the_best_bundle_is_not_a_final_one(tmp_path, pictures, monkeypatch):
    trainer, found = TokenizerTrainer(config(pictures), tmp_path / "run"), []
    monkeypatch.setattr(
        trainer, "_export_to", lambda bundle, step, **more: found.append((bundle, step, more))
    )
    trainer._export_best(tmp_path / "best", 7)
    assert found == [(tmp_path / "best", 7, {"final": False, "history": None})]


def test_larger_crops_are_proportionally_fewer(tmp_path, pictures):
    run = config(pictures, steps=4, batch=8)  # 32 pixels, and 64 in the second half
    shapes = [tuple(b.shape) for b in TokenizerTrainer(run, tmp_path / "run")._stream(0, 4)]
    assert shapes == [(8, 3, 32, 32)] * 2 + [(2, 3, 64, 64)] * 2


def test_the_pictures_for_new_codes_are_the_first_of_the_run(tmp_path, pictures):
    trainer = TokenizerTrainer(config(pictures), tmp_path / "run")
    pairs = list(zip(trainer._stream(0, 3), trainer._first_pictures(), strict=False))
    assert len(pairs) == 3 and all(torch.equal(a, b) for a, b in pairs)

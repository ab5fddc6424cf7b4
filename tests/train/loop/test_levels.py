"""Runs of tokenizers with residual and product codes: steps, resuming, warnings and files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.errors import CheckpointError
from core.quantizers import LevelsConfig, NSVQConfig, RegVQConfig, VQConfig
from core.tokenizer import TokenizerConfig
from tests.train.loop.test_tokenizer import NETWORK, REGVQ, VQ, config, pictures, state
from train.cli.errors import UsageError
from train.config.tokenizer import LossConfig, RunConfig
from train.loop.adopt import adopted
from train.loop.health import by_level, dying_level
from train.loop.settings import remember_settings
from train.loop.tokenizer import TokenizerTrainer
from train.loop.warm_start import start_from
from train.recipes import config_of
from train.recipes.command_line import parse_run

__all__ = ["pictures"]  # a fixture

RESIDUAL = LevelsConfig(residual=3, dropout=0.5)
RUNS = {
    "residual-ema": (VQ, RESIDUAL),
    "residual-regvq": (REGVQ, LevelsConfig(residual=2, shared=True, beam=2)),
    "product-nsvq": (NSVQConfig(size=32), LevelsConfig(groups=2)),
    "both-ema": (VQ, LevelsConfig(residual=2, groups=2, shared=True, dropout=0.5)),
}


def levels_run(folder, quantizer, levels: LevelsConfig, **changes) -> RunConfig:
    run = config(folder, quantizer, **changes)
    return replace(run, tokenizer=TokenizerConfig(NETWORK, quantizer, levels=levels))


@pytest.mark.parametrize("kind", RUNS)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, pictures, kind: str) -> None:
    quantizer, levels = RUNS[kind]
    whole = levels_run(pictures, quantizer, levels, precision="fp32")
    trainer = TokenizerTrainer(whole, tmp_path / "whole")
    trainer.train()
    # Other processes would wait for the gradient of a codebook that was left out.
    handler = trainer.accelerator.ddp_handler
    assert (handler is not None and handler.find_unused_parameters) == (levels.dropout > 0)
    TokenizerTrainer(replace(whole, stop_after=3), tmp_path / "parts").train()
    torch.manual_seed(123)
    TokenizerTrainer(whole, tmp_path / "parts").train()
    one, two = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]
    assert one["usage/per_step"].shape == (6, levels.count, 32)
    a, b = (load_file(tmp_path / n / "bundle/model.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    loaded = load_tokenizer(tmp_path / "whole")
    assert loaded.levels == levels.count
    ids = loaded.encode(torch.zeros(1, 3, 32, 32))
    assert ids.shape == (1, levels.count, 8, 8)


def test_files_and_figures_of_a_run_with_levels(tmp_path, pictures) -> None:
    run = levels_run(pictures, VQ, RESIDUAL, steps=4, log_every=1, validate_every=4)
    TokenizerTrainer(run, tmp_path / "run").train()
    bundle = find_bundle(tmp_path / "run")
    assert bundle.metrics["levels"] == len(bundle.metrics["per_level"]) == 3
    assert not bundle.atlas  # an atlas is that of a single codebook
    assert "3 ids per position of 5.00 bits each, 15.00 bits per position" in bundle.card
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    last = {name: value for row in rows if row["step"] == 4 for name, value in row.items()}
    for number in (1, 2, 3):
        assert 0 <= last[f"utilization_level_{number}"] <= 1
    levels = [last[f"utilization_level_{number}"] for number in (1, 2, 3)]
    assert last["utilization"] == pytest.approx(sum(levels) / 3)
    assert {"commitment", "validation_utilization", "validation_perplexity"} <= last.keys()


def test_moments_and_averages_of_replaced_codes_are_reset_at_each_level(tmp_path, pictures) -> None:
    quantizer = VQConfig(size=32, restart_below=0.5, decay=0.5)
    levels = LevelsConfig(residual=2, groups=2)
    trainer = TokenizerTrainer(levels_run(pictures, quantizer, levels), tmp_path / "run")
    images, found = next(trainer._stream(0, 1)), {}
    reset = trainer._reset_codes

    def watched(replaced):
        found.update(replaced)
        reset(replaced)

    trainer._reset_codes = watched
    for number in range(6):
        found.clear()
        trainer.step(images, number)
        if len(found) == 4:
            break
    assert set(found) == {f"quantizers.{g}.quantizers.{n}" for g in range(2) for n in range(2)}
    for path, replaced in found.items():
        codes = trainer.tokenizer.quantizer.get_submodule(path).codes
        moments = trainer.optimizer.state[codes]
        others = [code for code in range(32) if code not in replaced.tolist()]
        for name in ("exp_avg", "exp_avg_sq"):
            assert not moments[name][replaced].any()
            assert moments[name][others].any()
        averaged = trainer.averaged.module.quantizer.get_submodule(path).codes
        assert torch.equal(averaged[replaced], codes[replaced])
        assert not torch.equal(averaged[others], codes[others])


def test_the_warning_names_the_level() -> None:
    """Only the second level dies; a larger use of before is that of the same level."""
    run = replace(RunConfig(), steps=1000, batch=4)
    counts = torch.stack([torch.full((64,), 10), torch.zeros(64).long(), torch.full((64,), 10)])
    counts[1, :9] = 10
    figures = by_level(counts)
    assert figures["utilization_level_2"] == 9 / 64
    assert figures["perplexity_level_2"] == pytest.approx(9)
    most = [0.0, 0.5, 0.0]
    words = dying_level(run, 64, figures, most, 500)
    assert words is not None
    assert "used 14% of 64 codes of level 2 of 3 (at most 50% before)" in words
    assert most == [1.0, 0.5, 1.0]
    assert dying_level(run, 64, by_level(torch.full((2, 64), 10)), [0.0, 0.0], 500) is None
    one = {"utilization": 9 / 64, "perplexity": 9.0}
    assert "used 14% of 64 codes, with a" in (dying_level(run, 64, one, [0.0], 500) or "")


def test_flags_set_the_levels() -> None:
    run = parse_run(
        ["scenes-vq", "--tokenizer.levels.residual", "2", "--tokenizer.levels.groups", "4",
         "--tokenizer.levels.shared", "--tokenizer.levels.beam", "3"],
        "train/run.py",
    )  # fmt: skip
    assert run.tokenizer.levels == LevelsConfig(residual=2, groups=4, shared=True, beam=3)
    assert config_of("scenes-vq").tokenizer.levels == LevelsConfig()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tokenizer.levels.groups", "7"], "levels.groups must divide the"),
        (["--tokenizer.levels.beam", "2"], "belong to residual codes"),
        (["--tokenizer.levels.residual", "2", "--loss.contrastive", "pcl"], "contrastive cl or"),
        (
            ["--tokenizer.levels.groups", "2", "--codes-from", "latents", "--init", "x"],
            "sets one codebook, but the tokenizer has 2 levels",
        ),
    ],
)
def test_wrong_levels_get_a_sentence(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_run(["scenes-regvq", *flags], "train/run.py")


def test_a_run_of_an_earlier_version_resumes_with_one_level(tmp_path, pictures) -> None:
    run = config(pictures)
    remember_settings(run, tmp_path)
    described = json.loads((tmp_path / "run.json").read_text())
    del described["tokenizer"]["levels"]
    (tmp_path / "run.json").write_text(json.dumps(described))
    remember_settings(run, tmp_path)
    other = replace(run, tokenizer=replace(run.tokenizer, levels=LevelsConfig(residual=2)))
    with pytest.raises(CheckpointError, match=r"another tokenizer\.levels\.residual"):
        remember_settings(other, tmp_path)


def test_weights_and_levels_come_from_a_bundle(tmp_path, pictures) -> None:
    quantizer = RegVQConfig(size=32)
    run = levels_run(pictures, quantizer, LevelsConfig(residual=2), steps=2)
    TokenizerTrainer(run, tmp_path / "first").train()
    further = config_of("finetune")
    found = adopted(replace(further, init=tmp_path / "first", loss=LossConfig(l1=0.5)))
    assert found.tokenizer == run.tokenizer
    torch.manual_seed(5)
    trainer = TokenizerTrainer(replace(run, init=tmp_path / "first"), tmp_path / "second")
    bundled = load_tokenizer(tmp_path / "first").quantizer.state_dict()
    own = trainer.tokenizer.quantizer.state_dict()
    assert all(torch.equal(own[name], bundled[name]) for name in own if name.endswith("codes"))
    assert sum(name.endswith("codes") for name in own) == 2
    one = TokenizerTrainer(config(pictures, quantizer), tmp_path / "third")
    with pytest.raises(CheckpointError, match="its quantizer is a ResidualQuantizer"):
        start_from(one.tokenizer, tmp_path / "first")


def test_decoder_only_training_keeps_all_levels(tmp_path, pictures) -> None:
    levels = LevelsConfig(residual=2)
    run = levels_run(pictures, VQ, levels, steps=2)
    TokenizerTrainer(run, tmp_path / "first").train()
    only = replace(run, init=tmp_path / "first", train_only="decoder", steps=3)
    trainer = TokenizerTrainer(only, tmp_path / "second")
    assert trainer.tokenizer.quantizer.encoder_frozen
    assert all(part.encoder_frozen for part in trainer.tokenizer.quantizer.quantizers)
    trainer.train()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    first, second = load_tokenizer(tmp_path / "first"), load_tokenizer(tmp_path / "second")
    assert torch.equal(first.encode(images), second.encode(images))

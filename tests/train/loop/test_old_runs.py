"""Run folders of an earlier version: their settings and states are still read.

The names below are those of version 0.1.0, written down by hand: a rename in the code must not
reach them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.bundles.bundle import find_bundle
from core.errors import CheckpointError
from train.loop.settings import remember_settings
from train.loop.tokenizer import TokenizerTrainer
from train.recipes.command_line import parse_run

FLAGS = """photos-nsvq --tokenizer.network.widths 8 16 --tokenizer.network.encoder-blocks 1
    --tokenizer.network.decoder-blocks 1 --tokenizer.network.latent-dim 4
    --tokenizer.network.decoder-widths None --tokenizer.network.last-width 0
    --optimizer.lr 4e-4 --codes-rate 1 --loss.no-lpips
    --tokenizer.quantizer.size 32 --tokenizer.quantizer.epoch 1
    --tokenizer.quantizer.replacement-warmup 0 --data.name scenes --data.size 32
    --data.last-size None --data.crop 0.0 1.0 --data.workers 0 --features.name none
    --loss.perceptual 0 --loss.l2 0 --loss.adversarial 0.5 --loss.discriminator-start 0
    --loss.listen-after 0 --loss.ramp 0 --discriminator.width 8 --discriminator.layers 1
    --stages.epoch 1 --stages.earliest 0 --stages.latest 0.25 --stages.warmup 2 --stages.ramp 2
    --steps 8 --batch 2 --precision fp32"""

RUN = {
    "recipe": "photos-nsvq", "batch": 2, "seed": 0,
    "tokenizer": {
        "network": {
            "widths": [8, 16], "encoder_blocks": 1, "decoder_blocks": 1, "stem": 2,
            "latent_dim": 4, "attention": False,
        },
        "quantizer": {
            "size": 32, "beta": 0.25, "alpha": 0.1, "tau": 0.35, "replacement": True, "epoch": 1,
            "replacement_warmup": 0, "replacement_noise": 0.001, "mask_ratio": 0.0,
        },
    },
    "data": {
        "name": "scenes", "root": None, "size": 32, "crop": [0.0, 1.0], "last_size": None,
        "last_share": 0.2,
    },
    "features": {"name": "none", "weights": None},
    "loss": {
        "l1": 1.0, "l2": 0.0, "perceptual": 0.0, "contrastive": "none", "contrastive_weight": 0.1,
        "adversarial": 0.5, "adaptive": True, "discriminator_start": 0.0, "listen_after": 0.0,
        "ramp": 0.0,
    },
    "discriminator": {"width": 8, "layers": 1},
    "optimizer": {
        "lr": 0.0004, "betas": [0.9, 0.95], "weight_decay": 0.0001, "warmup": 0.03,
        "schedule": "cosine", "clip": 1.0, "ema": 0.999, "discriminator_lr": 0.0002,
        "discriminator_betas": [0.5, 0.9],
    },
    "stages": {
        "epoch": 1, "patience": 10, "earliest": 0.0, "latest": 0.25, "warmup": 2, "ramp": 2,
    },
    "codes_rate": 1.0, "init": None, "train_only": "all",
}  # fmt: skip

TOKENIZER = {
    "encoder.layers.1.weight": (8, 12, 3, 3), "encoder.layers.1.bias": (8,),
    "encoder.layers.2.norm1.weight": (8,), "encoder.layers.2.norm1.bias": (8,),
    "encoder.layers.2.conv1.weight": (8, 8, 3, 3), "encoder.layers.2.conv1.bias": (8,),
    "encoder.layers.2.norm2.weight": (8,), "encoder.layers.2.norm2.bias": (8,),
    "encoder.layers.2.conv2.weight": (8, 8, 3, 3), "encoder.layers.2.conv2.bias": (8,),
    "encoder.layers.3.weight": (16, 8, 3, 3), "encoder.layers.3.bias": (16,),
    "encoder.layers.4.norm1.weight": (16,), "encoder.layers.4.norm1.bias": (16,),
    "encoder.layers.4.conv1.weight": (16, 16, 3, 3), "encoder.layers.4.conv1.bias": (16,),
    "encoder.layers.4.norm2.weight": (16,), "encoder.layers.4.norm2.bias": (16,),
    "encoder.layers.4.conv2.weight": (16, 16, 3, 3), "encoder.layers.4.conv2.bias": (16,),
    "encoder.layers.5.weight": (16,), "encoder.layers.5.bias": (16,),
    "encoder.layers.7.weight": (4, 16, 1, 1), "encoder.layers.7.bias": (4,),
    "quantizer.codes": (32, 4),
    "decoder.layers.0.weight": (16, 4, 3, 3), "decoder.layers.0.bias": (16,),
    "decoder.layers.1.norm1.weight": (16,), "decoder.layers.1.norm1.bias": (16,),
    "decoder.layers.1.conv1.weight": (16, 16, 3, 3), "decoder.layers.1.conv1.bias": (16,),
    "decoder.layers.1.norm2.weight": (16,), "decoder.layers.1.norm2.bias": (16,),
    "decoder.layers.1.conv2.weight": (16, 16, 3, 3), "decoder.layers.1.conv2.bias": (16,),
    "decoder.layers.2.conv.weight": (8, 16, 3, 3), "decoder.layers.2.conv.bias": (8,),
    "decoder.layers.3.norm1.weight": (8,), "decoder.layers.3.norm1.bias": (8,),
    "decoder.layers.3.conv1.weight": (8, 8, 3, 3), "decoder.layers.3.conv1.bias": (8,),
    "decoder.layers.3.norm2.weight": (8,), "decoder.layers.3.norm2.bias": (8,),
    "decoder.layers.3.conv2.weight": (8, 8, 3, 3), "decoder.layers.3.conv2.bias": (8,),
    "decoder.layers.4.weight": (8,), "decoder.layers.4.bias": (8,),
    "decoder.to_pixels.weight": (12, 8, 3, 3), "decoder.to_pixels.bias": (12,),
}  # fmt: skip
BUFFERS = {"quantizer.uses": torch.ones(32, dtype=torch.int64),
           "quantizer.updates": torch.tensor(3)}  # fmt: skip
DISCRIMINATOR = {
    "layers.0.weight": (8, 3, 4, 4), "layers.0.bias": (8,), "layers.2.weight": (16, 8, 4, 4),
    "layers.3.weight": (16,), "layers.3.bias": (16,), "layers.5.weight": (1, 16, 4, 4),
    "layers.5.bias": (1,),
}  # fmt: skip


def moments(part: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return an optimizer's moments: first the matrices with weight decay, then the others."""
    decayed = [s for name, s in shapes.items() if len(s) > 1 and not name.startswith("quantizer")]
    others = [s for name, s in shapes.items() if len(s) < 2 or name.startswith("quantizer")]
    return {
        f"{part}/{index}/{key}": torch.tensor(3.0) if key == "step" else torch.full(shape, 1e-3)
        for index, shape in enumerate([*decayed, *others])
        for key in ("step", "exp_avg", "exp_avg_sq")
    }


def old_state() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    weights = {name: 0.1 * torch.randn(s, generator=draw) for name, s in TOKENIZER.items()}
    weights |= BUFFERS
    judge = {name: 0.1 * torch.randn(s, generator=draw) for name, s in DISCRIMINATOR.items()}
    return {
        **{f"tokenizer/{name}": value for name, value in weights.items()},
        **{f"averaged/module.{name}": value.clone() for name, value in weights.items()},
        "averaged/n_averaged": torch.tensor(3),
        **moments("optimizer", TOKENIZER),
        **{f"discriminator/{name}": value for name, value in judge.items()},
        **moments("judge_optimizer", DISCRIMINATOR),
        "stages/total": torch.tensor(0.0, dtype=torch.float64),
        "stages/lowest": torch.tensor(0.2, dtype=torch.float64),
        "stages/stale": torch.tensor(1),
        "stages/frozen_at": torch.tensor(2),
    }


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of version 0.1.0 that was stopped after its third step."""
    folder = tmp_path / "run"
    (folder / "state").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RUN))
    numbers = {"step": 3, "broken": {"/photos/bad.jpg": "no picture"},
               "fixed": {"features": "none"}}  # fmt: skip
    (folder / "state/state.json").write_text(json.dumps(numbers))
    save_file(old_state(), folder / "state/state.safetensors")
    return folder


@pytest.mark.slow
def test_a_run_of_an_earlier_version_resumes(run_folder: Path, capsys) -> None:
    config = parse_run(FLAGS.split(), "run")
    remember_settings(config, run_folder)  # the settings are the same
    trainer = TokenizerTrainer(replace(config, stop_after=3), run_folder)
    trainer.train()  # no step is left: the state is loaded and kept
    before, after = old_state(), load_file(run_folder / "state/state.safetensors")
    assert before.keys() == after.keys()
    assert "older than checksums" in capsys.readouterr().out
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    TokenizerTrainer(config, run_folder).train()
    moved = load_file(run_folder / "state/state.safetensors")
    assert moved.keys() == before.keys() | {"usage/per_step"}  # newer than that version
    for part in (
        "tokenizer/decoder.to_pixels.weight",
        "discriminator/layers.0.weight",
        "optimizer/13/step",
        "judge_optimizer/0/exp_avg",
    ):
        assert not torch.equal(moved[part], before[part]), part
    assert int(moved["stages/frozen_at"]) == 2 and int(moved["averaged/n_averaged"]) == 8
    bundle = find_bundle(run_folder)
    assert bundle.metrics["step"] == 8
    assert bundle.config["recipe"]["data"]["broken_files"] == 1


def test_settings_that_are_newer_than_a_run_have_their_defaults_in_it(run_folder: Path) -> None:
    config = parse_run(FLAGS.split(), "run")
    older = {key: value for key, value in RUN.items() if key not in ("codes_rate", "train_only")}
    (run_folder / "run.json").write_text(json.dumps(older | {"precision": "bf16"}))
    remember_settings(config, run_folder)
    with pytest.raises(CheckpointError, match=r"holds a run with another codes_rate; .* to resume"):
        remember_settings(replace(config, codes_rate=10.0), run_folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_unreadable_settings_get_one_sentence(run_folder: Path, text: str) -> None:
    (run_folder / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        remember_settings(parse_run(FLAGS.split(), "run"), run_folder)


def test_a_state_of_another_architecture_gets_one_sentence(run_folder: Path) -> None:
    state = old_state()
    del state["judge_optimizer/0/exp_avg"]
    state["tokenizer/quantizer.codes"] = torch.zeros(3, 3)
    save_file(state, run_folder / "state/state.safetensors")
    config = parse_run(FLAGS.split(), "run")
    with pytest.raises(CheckpointError, match=r"state cannot be resumed \(.*quantizer\.codes"):
        TokenizerTrainer(config, run_folder).train()

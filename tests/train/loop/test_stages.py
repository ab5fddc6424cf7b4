"""NSVQ's stages: the freezing rule, what each stage trains, and a resumed run."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from core.quantizers import NSVQConfig, SimVQConfig
from tests.train.loop.test_tokenizer import config, pictures, state
from train.config.stages import StagesConfig
from train.config.tokenizer import LossConfig
from train.loop.stages import Stages
from train.loop.tokenizer import TokenizerTrainer

__all__ = ["pictures"]  # the fixture
NSVQ = NSVQConfig(size=32, epoch=1, replacement_warmup=0)
STAGES = StagesConfig(epoch=1, latest=0.25, warmup=2, ramp=2)
LOSS = LossConfig(perceptual=0, adversarial=0.5, discriminator_start=0, listen_after=0, ramp=0)


def staged(pictures, quantizer=NSVQ, **changes):
    return config(pictures, quantizer, **({"steps": 8, "stages": STAGES, "loss": LOSS} | changes))


def frozen_at(losses: list[float], **settings) -> int:
    """Return the step at which a run with these losses freezes its encoder (-1: never)."""
    stages = Stages(StagesConfig(**settings), len(losses))
    for step, loss in enumerate(losses):
        latents = torch.full((1, 2, 3, 3), loss**0.5)
        stopped = stages.watch(step, latents, torch.zeros_like(latents))
        assert stopped == (int(stages.frozen_at) == step + 1)
    return int(stages.frozen_at)


def rule(losses: list[float], patience: int) -> int:
    """Return the paper's rule: min over the last ``patience`` epochs >= min over those before."""
    for t in range(patience, len(losses)):
        recent = losses[t - patience + 1 : t + 1]
        if min(recent) >= min(losses[: t - patience + 1]):
            return t + 1
    return -1


@pytest.mark.parametrize("seed", range(6))
def test_the_freezing_rule_is_that_of_the_paper(seed):
    draw = torch.Generator().manual_seed(seed)
    noise = torch.rand(60, generator=draw) * 0.3
    losses = (noise + torch.linspace(1, 0, 60).square()).tolist()
    assert frozen_at(losses, epoch=1, patience=4) == rule(losses, 4)
    # epochs of three steps: the rule is applied to means
    means = [sum(losses[i : i + 3]) / 3 for i in range(0, 60, 3)]
    wanted = rule(means, 3)
    assert frozen_at(losses, epoch=3, patience=3) == (3 * wanted if wanted > 0 else -1)


def test_earliest_and_latest_shares_bound_the_freezing():
    rising = [float(k) for k in range(1, 21)]
    assert frozen_at(rising, epoch=1, patience=3) == 4
    assert frozen_at(rising, epoch=1, patience=3, earliest=0.5) == 10
    falling = rising[::-1]
    assert frozen_at(falling, epoch=1, patience=3) == -1
    assert frozen_at(falling, epoch=1, patience=3, latest=0.75) == 15


def test_stages_follow_each_other():
    stages = Stages(StagesConfig(epoch=10, warmup=3, ramp=2), 100)
    assert stages.at(99).name == "joint"
    stages.frozen_at.fill_(20)
    assert [stages.at(step).name for step in (19, 20, 49, 50)] == [
        "joint",
        "warm-up",
        "warm-up",
        "refine",
    ]
    scales = [stages.at(step).adversarial_scale for step in (19, 20, 50, 60, 70, 99)]
    assert scales == [1, 0, 0, 0.5, 1, 1]
    assert [stages.at(step).has_discriminator for step in (19, 49, 50)] == [True, False, True]


@pytest.mark.parametrize("quantizer", [NSVQ, SimVQConfig(size=32)], ids=["nsvq", "simvq"])
@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_resumed_run_gives_the_same_bits_in_every_stage(tmp_path, pictures, quantizer, stop):
    whole = staged(pictures, quantizer)
    TokenizerTrainer(whole, tmp_path / "whole").train()
    TokenizerTrainer(replace(whole, stop_after=stop), tmp_path / "parts").train()
    TokenizerTrainer(whole, tmp_path / "parts").train()
    one, two = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]
    assert int(one["stages/frozen_at"]) == 2


def test_each_stage_trains_its_own_parts(tmp_path, pictures):
    trainer = TokenizerTrainer(staged(pictures), tmp_path / "run")
    parts = {
        "encoder": trainer.tokenizer.encoder,
        "decoder": trainer.tokenizer.decoder,
        "discriminator": trainer.discriminator,
    }

    def copied() -> dict[str, list[torch.Tensor]]:
        return {k: [p.detach().clone() for p in m.parameters()] for k, m in parts.items()}

    seen, moments = [], None
    before = copied()
    for number, images in enumerate(trainer._stream(0, 8)):
        losses = trainer.step(images, number)
        after = copied()
        moved = {
            name
            for name in parts
            if any(not torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
        }
        seen.append((int(losses["stage"]), moved, "nonstationary" in losses))
        before = after
        encoder = trainer.tokenizer.encoder.layers[1].weight
        if number == 1:
            moments = trainer.optimizer.state[encoder]["exp_avg"].clone()
            averaged = trainer.averaged.module.encoder.layers[1].weight
            assert torch.equal(averaged, encoder)
    everything = {"encoder", "decoder", "discriminator"}
    assert seen == [
        *[(1, everything, True)] * 2,
        *[(2, {"decoder"}, False)] * 2,
        *[(3, {"decoder", "discriminator"}, False)] * 4,
    ]
    assert torch.equal(trainer.optimizer.state[encoder]["exp_avg"], moments)  # kept without a step
    assert torch.equal(trainer.averaged.module.encoder.layers[1].weight, encoder)


def test_the_rule_watches_the_commitment_loss_with_a_mask_too(tmp_path, pictures):
    """Drawn codes are farther from the latents, by as much as the ratio of the mask says."""
    masked = replace(NSVQ, mask_ratio=0.8, mask_fall=(0.0, 1.0))
    run = staged(pictures, masked, stages=StagesConfig(epoch=8), precision="fp32")
    trainer = TokenizerTrainer(run, tmp_path / "run")
    total = 0.0
    for number, images in enumerate(trainer._stream(0, 3)):
        losses = trainer.step(images, number)
        assert 0 < trainer.tokenizer.quantizer.mask_ratio <= 0.8
        total += float(losses["commitment"]) / masked.beta
        assert float(trainer.stages.total) == pytest.approx(total, rel=1e-5)


def test_the_adversarial_weight_rises_again_in_each_stage(tmp_path, pictures):
    loss = replace(LOSS, adaptive=False)
    run = staged(pictures, loss=loss, stages=replace(STAGES, epoch=2, warmup=1), log_every=1)
    TokenizerTrainer(run, tmp_path / "run").train()
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    weights = [line.get("adversarial_weight", 0.0) for line in lines]
    assert weights == pytest.approx([0.5, 0.5, 0, 0, 0, 0.125, 0.25, 0.375])


def process(rank: int, port: int, pictures: str, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
    trainer = TokenizerTrainer(_shared(Path(pictures), batch=2), Path(folder) / "two")
    assert trainer.accelerator.num_processes == 2
    trainer.train()
    torch.save(trainer.tokenizer.state_dict(), Path(folder) / f"{rank}.pt")


def _shared(pictures: Path, batch: int):
    """Return a run that two processes can share: without noise and without batch statistics."""
    run = staged(pictures, loss=replace(LOSS, adaptive=False), batch=batch, precision="fp32")
    run = replace(run, optimizer=replace(run.optimizer, lr=1e-4, discriminator_lr=1e-5))
    return replace(run, data=replace(run.data, last_size=None))


@pytest.mark.slow
def test_two_processes_pass_the_stages_like_one(tmp_path, pictures):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(process, args=(port, str(pictures), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    TokenizerTrainer(_shared(pictures, batch=4), tmp_path / "one").train()
    logs = {n: (tmp_path / n / "log.jsonl").read_text().splitlines() for n in ("one", "two")}
    alone, together = ([json.loads(line) for line in lines] for lines in logs.values())
    for a, b in zip(alone, together, strict=True):  # losses are means over both processes
        assert b["l1"] == pytest.approx(a["l1"], rel=1e-3), a["step"]
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    assert torch.equal(one["stages/frozen_at"], two["stages/frozen_at"])
    for name in first:  # Adam's first steps are signs: rounding may turn a few
        gap = (one[f"tokenizer/{name}"].float() - two[f"tokenizer/{name}"].float()).abs()
        assert gap.mean() < 2e-5, name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epoch": 0}, "epoch"),
        ({"patience": 0}, "patience"),
        ({"earliest": 0.9, "latest": 0.5}, "earliest"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        StagesConfig(**settings)


def test_numbers_of_the_rule_are_exact_in_long_runs():
    """Sums of losses need float64, numbers of steps int64."""
    stages = Stages(StagesConfig(), 100)
    kinds = {name: value.dtype for name, value in stages.state_dict().items()}
    assert kinds == {
        "total": torch.float64, "lowest": torch.float64,
        "stale": torch.int64, "frozen_at": torch.int64,
    }  # fmt: skip
    assert stages.state_dict()["lowest"] == torch.inf and int(stages.frozen_at) == -1
    assert not stages.total and not stages.stale


def test_equal_epochs_are_no_progress_and_a_first_step_can_freeze():
    assert frozen_at([1.0] * 9, epoch=1, patience=3) == 4
    assert frozen_at([1.0, 2.0, 1.0, 3.0, 4.0], epoch=1, patience=3) == 4
    stages = Stages(StagesConfig(epoch=10, warmup=1), 100)
    stages.frozen_at.fill_(0)  # the encoder never learns
    assert stages.at(0).name == "warm-up" and stages.at(10).name == "refine"
    assert not stages.watch(0, torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))
    assert int(stages.frozen_at) == 0


def test_the_loss_of_an_epoch_is_the_mean_square():
    stages = Stages(StagesConfig(epoch=2, patience=9), 100)
    latents, codes = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    stages.watch(0, latents, codes)
    assert float(stages.total) == pytest.approx(float((latents - codes).square().mean()))
    stages.watch(1, latents, 0 * codes)
    wanted = (float((latents - codes).square().mean()) + float(latents.square().mean())) / 2
    assert float(stages.lowest) == pytest.approx(wanted) and not stages.total

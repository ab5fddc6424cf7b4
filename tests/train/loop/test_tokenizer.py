"""Training of tokenizers: resumed runs, numbered draws, guards and files."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.data import Sample
from core.errors import CheckpointError, DataError
from core.networks.autoencoder import NetworkConfig
from core.networks.discriminator import DiscriminatorConfig
from core.quantizers import GumbelConfig, RegVQConfig, VQConfig
from core.tokenizer import TokenizerConfig
from tests.core.networks.test_networks import keras_like
from train.cli.data import data_lines
from train.config.tokenizer import DataConfig, FeatureConfig, LossConfig, OptimizerConfig, RunConfig
from train.export.tokenizer import _center, sample_pictures
from train.loop.base import NonFiniteLoss
from train.loop.draws import Batches
from train.loop.optim import lr_scale
from train.loop.tokenizer import TokenizerTrainer

NETWORK = NetworkConfig(widths=(8, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
REGVQ = RegVQConfig(size=32)
VQ = VQConfig(size=32, codebook="ema", start="data", restart_below=0.5, decay=0.5)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of 12 small pictures: gradients and blocks."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for index in range(12):
        coarse = draw.integers(0, 255, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((60, 48), Image.Resampling.BICUBIC).save(
            folder / f"{index:02d}.png"
        )
    return folder


def config(pictures: Path, quantizer=REGVQ, steps: int = 6, **changes) -> RunConfig:
    run = RunConfig(
        recipe="test",
        tokenizer=TokenizerConfig(NETWORK, quantizer),
        data=DataConfig("folder", pictures, size=32, last_size=64, last_share=0.5, workers=0),
        features=FeatureConfig(name="none"),
        loss=LossConfig(perceptual=0.0, adversarial=0.5, discriminator_start=0.2, ramp=0.3),
        discriminator=DiscriminatorConfig(width=8, layers=1),
        steps=steps,
        batch=4,
        save_every=100,
        log_every=2,
    )
    return replace(run, **changes)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "state" / "state.safetensors")


@pytest.mark.parametrize("quantizer", [REGVQ, VQ], ids=["regvq", "vq"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_gives_the_same_bits(tmp_path, pictures, quantizer, precision):
    """Weights, averages, moments and the discriminator equal those without an interruption."""
    whole = config(pictures, quantizer, precision=precision)
    TokenizerTrainer(whole, tmp_path / "whole").train()
    TokenizerTrainer(replace(whole, stop_after=3), tmp_path / "parts").train()
    numbers = json.loads((tmp_path / "parts/state/state.json").read_text())
    assert numbers == {"step": 3, "broken": {}, "fixed": {"features": "none"}}
    torch.manual_seed(123)  # the generator's state in between must not matter
    TokenizerTrainer(whole, tmp_path / "parts").train()
    one, two = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert one.keys() == two.keys()
    differing = [name for name in one if not torch.equal(one[name], two[name])]
    assert not differing
    assert any("judge_optimizer" in name for name in one)
    a, b = (load_file(tmp_path / n / "bundle/model.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    # The history of the codes has the stop's step, and ends with the same codes.
    drifts = {n: find_bundle(tmp_path / n).atlas for n in ("whole", "parts")}
    assert drifts["whole"]["history_steps"].tolist() == [6]
    assert drifts["parts"]["history_steps"].tolist() == [3, 6]
    for drift in drifts.values():
        assert drift["history_counts"][-1].tolist() == drift["counts"].tolist()
    assert drifts["parts"]["history_moved"][1].max() > 0


def test_the_seed_determines_the_run(tmp_path, pictures):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        TokenizerTrainer(config(pictures, seed=seed, steps=2), tmp_path / name).train()
    a, b, c = (state(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


@pytest.mark.slow
def test_training_learns(tmp_path, pictures):
    loss = LossConfig(perceptual=0.0, adversarial=0.0)
    run = config(pictures, steps=80, loss=loss, optimizer=OptimizerConfig(lr=4e-3), log_every=5)
    TokenizerTrainer(run, tmp_path / "run").train()
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 80
    errors = [line["l1"] for line in lines]  # of four pictures each: single lines are noisy
    assert sum(errors[-4:]) / 4 < 0.75 * errors[0]
    assert 0 < lines[-1]["utilization"] <= 1
    assert 1 <= lines[-1]["perplexity"] <= 32
    assert lines[-1]["images_per_second"] > 0


def test_files_of_a_finished_run(tmp_path, pictures):
    out = tmp_path / "run"
    bundle = TokenizerTrainer(config(pictures, steps=4, save_every=2), out).train()
    assert bundle == out / "bundle"
    found = find_bundle(out)
    assert found.metrics["step"] == 4
    assert found.metrics["images"] == 12
    assert found.metrics["data"]["held_out"] is False
    assert "NOT held-out" in found.card
    assert found.atlas["counts"].sum() == 12 * (60 // 4) * (48 // 4)
    assert load_tokenizer(out).codebook_size == 32
    sheets = sorted(file.name for file in (out / "samples").iterdir())
    assert sheets == ["0000002.png", "0000004.png"]
    assert list((out / "tensorboard").iterdir())
    assert found.atlas["history_steps"].tolist() == [2, 4]
    assert found.atlas["history_counts"].shape == found.atlas["history_moved"].shape == (2, 32)
    assert str(tmp_path) not in json.dumps(found.config) + found.card  # no path of this machine


def test_a_large_codebook_gets_its_atlas_at_the_end_only(tmp_path, pictures, monkeypatch):
    saved = []
    save = TokenizerTrainer._save

    def watched(self, step, **how):
        folder = save(self, step, **how)
        saved.append(sorted(find_bundle(folder).atlas))
        return folder

    monkeypatch.setattr(TokenizerTrainer, "_save", watched)
    for limit in (31, 32):
        monkeypatch.setattr("train.export.tokenizer.QUICK_ATLAS", limit)
        TokenizerTrainer(config(pictures, steps=2, save_every=1), tmp_path / str(limit)).train()
    assert not saved[0]
    assert "paints" in saved[1]
    assert saved[1] == saved[2] == saved[3]


def test_held_out_split_is_used(tmp_path, pictures):
    root = tmp_path / "split"
    for split, names in (("train", range(8)), ("val", range(8, 12))):
        (root / split).mkdir(parents=True)
        for index in names:
            (pictures / f"{index:02d}.png").rename(root / split / f"{index:02d}.png")
    TokenizerTrainer(config(root, steps=1), tmp_path / "run").train()
    metrics = find_bundle(tmp_path / "run").metrics
    assert metrics["images"] == 4
    assert metrics["data"]["held_out"] is True


def test_bundle_holds_the_averaged_weights(tmp_path, pictures):
    TokenizerTrainer(config(pictures, steps=3), tmp_path / "run").train()
    kept, weights = state(tmp_path / "run"), load_file(tmp_path / "run/bundle/model.safetensors")
    name = "decoder.to_pixels.weight"
    assert torch.equal(weights[name], kept[f"averaged/module.{name}"].half())
    assert not torch.equal(kept[f"averaged/module.{name}"], kept[f"tokenizer/{name}"])


def test_perceptual_and_contrastive_loss_on_a_weights_file(tmp_path, pictures):
    _, npz, _ = keras_like(tmp_path)
    run = config(
        pictures,
        steps=2,
        features=FeatureConfig("squeezenet", npz),
        loss=LossConfig(contrastive="pcl", adversarial=0.0),
    )
    TokenizerTrainer(run, tmp_path / "run").train()
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert last["perceptual"] > 0
    assert last["contrastive"] > 0
    card = find_bundle(tmp_path / "run").card
    assert "SqueezeNet 1.1 (weights file weights.npz)" in card
    assert "neither LPIPS nor FID" in card


def test_sigterm_saves_and_stops(tmp_path, pictures, monkeypatch):
    step = TokenizerTrainer.step

    def interrupted(self, images, number):
        if number == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, images, number)

    whole = config(pictures)
    monkeypatch.setattr(TokenizerTrainer, "step", interrupted)
    TokenizerTrainer(whole, tmp_path / "run").train()
    numbers = json.loads((tmp_path / "run/state/state.json").read_text())
    assert numbers == {"step": 2, "broken": {}, "fixed": {"features": "none"}}
    assert find_bundle(tmp_path / "run").metrics["step"] == 2
    monkeypatch.setattr(TokenizerTrainer, "step", step)
    TokenizerTrainer(whole, tmp_path / "run").train()
    TokenizerTrainer(whole, tmp_path / "whole").train()
    one, two = state(tmp_path / "whole"), state(tmp_path / "run")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_loss_that_is_not_finite_stops_before_the_weights(tmp_path, pictures, monkeypatch):
    out, run = tmp_path / "run", config(pictures, steps=8, save_every=2)
    step = TokenizerTrainer.step

    def poisoned(self, images, number):
        if number == 5:
            images = images.clone()
            images[0, 0, 0, 0] = math.nan
        return step(self, images, number)

    monkeypatch.setattr(TokenizerTrainer, "step", poisoned)
    trainer = TokenizerTrainer(run, out)
    with pytest.raises(NonFiniteLoss, match="l1 is not finite at step 5"):
        trainer.train()
    assert all(torch.isfinite(p).all() for p in trainer.tokenizer.parameters())
    numbers = json.loads((out / "state/state.json").read_text())
    assert numbers == {"step": 4, "broken": {}, "fixed": {"features": "none"}}
    assert load_tokenizer(out).codebook_size == 32


def test_the_optimizer_resets_moments_of_replaced_codes(tmp_path, pictures):
    quantizer = VQConfig(size=32, restart_below=0.5, decay=0.5)
    trainer = TokenizerTrainer(config(pictures, quantizer), tmp_path / "run")
    images = next(trainer._stream(0, 1))
    replaced = None
    update = trainer.tokenizer.quantizer.update

    def watched(z, ids):
        nonlocal replaced
        replaced = update(z, ids)
        return replaced

    trainer.tokenizer.quantizer.update = watched
    for number in range(4):
        trainer.step(images, number)
        if replaced is not None:
            break
    assert replaced is not None
    codes = trainer.tokenizer.quantizer.codes
    moments = trainer.optimizer.state[codes]
    others = [code for code in range(32) if code not in replaced.tolist()]
    for name in ("exp_avg", "exp_avg_sq"):
        assert not moments[name][replaced].any()
        assert moments[name][others].any()
    averaged = trainer.averaged.module.quantizer.codes
    assert torch.equal(averaged[replaced], codes[replaced])


def test_codes_can_learn_faster_than_the_network(tmp_path, pictures):
    """Adam's first step moves a weight by its rate: here ten times as far for the codes only."""
    moved = {}
    for rate in (1.0, 10.0):
        run = replace(config(pictures), codes_rate=rate, optimizer=OptimizerConfig(warmup=0.0))
        trainer = TokenizerTrainer(run, tmp_path / str(rate))
        before = {n: p.detach().clone() for n, p in trainer.tokenizer.named_parameters()}
        trainer.step(torch.stack([trainer.data.draw(k).image for k in range(4)]), 0)
        moved[rate] = {
            n: float((p - before[n]).abs().max()) for n, p in trainer.tokenizer.named_parameters()
        }
        assert sum(len(group["params"]) for group in trainer.optimizer.param_groups) == len(before)
    for name, step in moved[1.0].items():
        times = 10 if name == "quantizer.codes" else 1
        assert moved[10.0][name] == pytest.approx(times * step, rel=0.02), name
    assert moved[1.0]["quantizer.codes"] > 0
    with pytest.raises(ValueError, match="codes_rate"):
        replace(config(pictures), codes_rate=0.0)


def test_learning_rate_warms_up_and_falls():
    rates = [lr_scale(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_a_constant_learning_rate_stays_constant_after_warm_up():
    rates = [lr_scale(step, 100, 0.1, "constant") for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert set(rates[10:]) == {1.0}
    assert lr_scale(0, 100, 0.0, "constant") == 1.0


def test_a_histogram_prior_needs_its_file():
    quantizer = RegVQConfig(size=32, prior="histogram")
    with pytest.raises(ValueError, match="prior_file"):
        RunConfig(tokenizer=TokenizerConfig(NETWORK, quantizer))


def test_the_quantizer_is_given_the_progress_of_the_run(tmp_path, pictures):
    trainer = TokenizerTrainer(config(pictures, GumbelConfig(size=32)), tmp_path / "run")
    heard = []
    trainer.tokenizer.quantizer.schedule = heard.append
    for number, images in enumerate(trainer._stream(0, 3)):
        trainer.step(images, number)
    assert heard == pytest.approx([0, 1 / 6, 2 / 6])


@pytest.mark.parametrize("start", [0, 3, 5])
def test_the_last_part_has_larger_and_fewer_crops(tmp_path, pictures, start):
    trainer = TokenizerTrainer(config(pictures, steps=6), tmp_path / "run")
    shapes = [tuple(images.shape) for images in trainer._stream(start, 6)]
    assert shapes == ([(4, 3, 32, 32)] * 3 + [(1, 3, 64, 64)] * 3)[start:]


class Numbers:
    """A data set whose k-th draw has the value k."""

    def draw(self, k):
        from core.data import Sample

        return Sample(torch.full((3, 2, 2), float(k)))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_numbered(workers):
    def draws(first: int, rank: int, processes: int) -> list[list[int]]:
        stream = iter(Batches(Numbers(), 3, first, rank, processes, workers))
        return [next(stream)[:, 0, 0, 0].int().tolist() for _ in range(2)]

    assert draws(0, 0, 1) == [[0, 1, 2], [3, 4, 5]]
    assert draws(4, 0, 1) == [[12, 13, 14], [15, 16, 17]]
    assert draws(1, 1, 2) == [[9, 10, 11], [15, 16, 17]]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.slow
def test_broken_pictures_are_counted_and_named(tmp_path, pictures, workers, capsys):
    for index in range(12, 130):
        (pictures / f"{index:03d}.png").write_bytes((pictures / "00.png").read_bytes())
    (pictures / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    run = config(pictures, steps=60)
    run = replace(run, data=replace(run.data, workers=workers))
    TokenizerTrainer(run, tmp_path / "run").train()
    assert "1 broken pictures were skipped: bad.jpg" in capsys.readouterr().out
    assert find_bundle(tmp_path / "run").config["recipe"]["data"]["broken_files"] == 1


def test_names_of_any_bytes_are_printed_on_a_strict_terminal(tmp_path, pictures, monkeypatch):
    for number in range(100):
        shutil.copy(pictures / "00.png", pictures / f"more {number}.png")
    (pictures / os.fsdecode(b"caf\xe9\n.png")).write_bytes(b"")
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii", errors="strict")
    monkeypatch.setattr("sys.stdout", terminal)
    trainer = TokenizerTrainer(config(pictures, steps=30), tmp_path / "run")
    print("\n".join(data_lines(trainer)))
    trainer.train()
    terminal.flush()
    said = terminal.buffer.getvalue().decode()
    assert f"training on folder, train: 113 items in {pictures}; no captions" in said
    assert "1 broken pictures were skipped: caf??.png" in said


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_broken_pictures_stop_the_run(tmp_path, pictures, workers):
    for index in range(5):
        (pictures / f"bad{index}.jpg").write_text("no picture")
    run = config(pictures, steps=40)
    run = replace(run, data=replace(run.data, workers=workers))
    with pytest.raises(DataError, match="bad"):
        TokenizerTrainer(run, tmp_path / "run").train()


@pytest.mark.slow
def test_broken_pictures_before_a_stop_are_counted_after_it(tmp_path, pictures):
    for index in range(12, 130):
        (pictures / f"{index:03d}.png").write_bytes((pictures / "00.png").read_bytes())
    (pictures / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    run = config(pictures, steps=60)
    TokenizerTrainer(replace(run, stop_after=55), tmp_path / "run").train()
    TokenizerTrainer(run, tmp_path / "run").train()
    assert find_bundle(tmp_path / "run").config["recipe"]["data"]["broken_files"] == 1


def test_a_run_is_not_resumed_with_other_features(tmp_path, pictures):
    run = config(pictures)
    TokenizerTrainer(replace(run, stop_after=3), tmp_path / "run").train()
    file = tmp_path / "run/state/state.json"
    numbers = json.loads(file.read_text())
    assert numbers["fixed"] == {"features": "none"}
    file.write_text(json.dumps(numbers | {"fixed": {"features": "SqueezeNet 1.1"}}))
    with pytest.raises(CheckpointError, match=r"with features 'SqueezeNet 1\.1'.* 'none'"):
        TokenizerTrainer(run, tmp_path / "run").train()


class Shown:
    """A data set of a large picture, a broken file and a small picture."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 1:
            raise DataError("1 of the 3 files cannot be read")
        return Sample(torch.rand(3, *((600, 2400) if index == 0 else (40, 30))))


def test_evaluation_pictures_of_a_run_are_small_and_whole():
    shapes = [tuple(image.shape) for image in sample_pictures(Shown(), 3)]
    assert shapes == [(3, 256, 1024), (3, 40, 30)]


@pytest.mark.parametrize("shape", [(300, 200), (40, 100), (5000, 1)])
def test_a_sample_sheet_shows_the_middle_at_the_size_of_a_tile(shape):
    image = torch.zeros(3, *shape)
    short = min(shape)
    top, left = (shape[0] - short) // 2, (shape[1] - short) // 2
    image[:, top : top + short, left : left + short] = 0.5
    tile = _center(image, 192)
    assert tile.shape == (3, 192, 192) and float((tile - 0.5).abs().max()) < 0.01

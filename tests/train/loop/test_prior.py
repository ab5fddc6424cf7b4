"""Training of priors: resumed runs, token shards, refusals and files."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.bundles.bundle import find_bundle
from core.checkpoints import load_prior, load_tokenizer, prior_tokenizer
from core.conditions import SemanticConfig
from core.data.token_shards import TokenShards
from core.errors import CheckpointError, DataError
from core.priors import LayoutConfig
from tests.helpers.bundle_edits import numbers_of
from tests.helpers.tiny_prior_runs import PRIORS, prior_run, scene_shards, tokenizer_bundle
from train.cli.errors import UsageError
from train.config.base import PicturesConfig
from train.config.prior import SamplingConfig
from train.loop.prior import PriorTrainer
from train.loop.settings import remember_settings


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tokens")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return scene_shards(tmp_path_factory.mktemp("shards") / "scenes", tokenizer)


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.loop.prior.HELD_OUT", 6)
    monkeypatch.setattr("train.loop.prior.READ", 20)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "state" / "state.safetensors")


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.slow
def test_a_resumed_run_gives_the_same_bits(tmp_path, tokenizer, shards, kind):
    """Weights, averages, moments and the prior's record of losses equal those without a stop."""
    whole = prior_run(kind, tokenizer, tokens=None if kind == "latent" else shards)
    PriorTrainer(whole, tmp_path / "whole").train()
    PriorTrainer(replace(whole, stop_after=3), tmp_path / "parts").train()
    numbers = numbers_of(tmp_path / "parts/state")
    fixed = {"tokenizer": load_tokenizer(tokenizer).fingerprint}
    assert numbers == {"step": 3, "processes": 1, "broken": {}, "fixed": fixed}
    torch.manual_seed(123)  # the generator's state in between must not matter
    PriorTrainer(whole, tmp_path / "parts").train()
    one, two = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert any(name.startswith("optimizer/") for name in one)
    a, b = (load_file(tmp_path / n / "bundle/model.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_shards_and_pictures_encoded_on_the_fly_give_the_same_tokens(tmp_path, tokenizer, shards):
    """Scenes encoded in order on the fly equal the shards' rows."""
    fly = PriorTrainer(prior_run("autoregressive", tokenizer), tmp_path / "fly")
    read = PriorTrainer(prior_run("autoregressive", tokenizer, tokens=shards), tmp_path / "read")
    (encoded,) = fly._stream(0, 1)
    (stored,) = read._stream(0, 1)
    assert encoded.ids.shape == stored.ids.shape == (4, 4, 4)
    assert encoded.segmentation.shape == (4, 16, 16) and stored.segmentation.shape == (4, 4, 4)
    spread = [row * len(fly.data) // len(read.shards) for row in range(len(read.shards))]
    row = read.shards._row(0)
    again = fly.tokenizer.encode(fly.data[spread[row]].image[None])[0]
    assert torch.equal(stored.ids[0], again)
    assert stored.captions[0] == fly.data[spread[row]].caption


def test_draws_read_together_equal_those_read_one_by_one(shards):
    found = TokenShards(shards, seed=3)
    numbers = range(len(found) - 3, len(found) + 4)  # across the end of an epoch
    batch = found.draws(numbers)
    each = [found.draw(k) for k in numbers]
    assert torch.equal(batch.ids, torch.stack([one.ids for one in each]))
    assert torch.equal(batch.segmentation, torch.stack([one.segmentation for one in each]))
    assert batch.captions == tuple(one.caption for one in each)
    assert batch.labels.tolist() == [one.label for one in each]


def test_a_prior_learns(tmp_path, tokenizer, shards):
    run = prior_run("autoregressive", tokenizer, tokens=shards, steps=60, batch=16, save_every=1)
    run = replace(run, save_every=30)
    PriorTrainer(run, tmp_path / "run").train()
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    bits = [line["bits"] for line in lines if "bits" in line]
    assert bits[-1] < 0.8 * bits[0]
    held_out = [line["held_out_bits"] for line in lines if "held_out_bits" in line]
    assert len(held_out) == 2 and held_out[1] < held_out[0]
    assert find_bundle(tmp_path / "run").metrics["bits_per_token"] == held_out[1]


def test_files_of_a_finished_run(tmp_path, tokenizer, shards):
    out = tmp_path / "run"
    run = prior_run("masked", tokenizer, tokens=shards, save_every=3)
    bundle = PriorTrainer(run, out).train()
    assert bundle == out / "bundle"
    found = find_bundle(out)
    assert found.kind == "prior"
    assert found.metrics["step"] == 6 and found.metrics["held_out"] == 6
    assert found.config["data"]["classes"][0] == "sky"
    assert len(found.config["data"]["palette"]) == len(found.config["data"]["classes"])
    assert found.config["sampling"]["steps"] == 3
    assert "6 of 6 steps of 4 pictures" in found.card and "24 token grids" in found.card
    assert prior_tokenizer(found, tokenizer.parent).path == tokenizer
    prior = load_prior(out)
    assert prior.grid == (4, 4) and prior.codebook_size == 24
    assert not prior.training
    sheets = sorted(file.name for file in (out / "samples").iterdir())
    assert sheets == ["0000003.png", "0000006.png"]
    for secret in (tmp_path, tokenizer.parent, shards.parent):  # no path of this machine
        assert str(secret) not in json.dumps(found.config) + found.card


def test_bundle_holds_the_averaged_weights(tmp_path, tokenizer, shards):
    PriorTrainer(prior_run("masked", tokenizer, tokens=shards), tmp_path / "run").train()
    kept, weights = state(tmp_path / "run"), load_file(tmp_path / "run/bundle/model.safetensors")
    name = "network.head.weight"
    assert torch.equal(weights[name], kept[f"averaged/module.{name}"].half())
    assert not torch.equal(kept[f"averaged/module.{name}"], kept[f"prior/{name}"])


def test_sigterm_saves_and_stops(tmp_path, tokenizer, shards, monkeypatch):
    step = PriorTrainer.step

    def interrupted(self, batch, number):
        if number == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batch, number)

    monkeypatch.setattr(PriorTrainer, "step", interrupted)
    PriorTrainer(prior_run("masked", tokenizer, tokens=shards), tmp_path / "run").train()
    numbers = numbers_of(tmp_path / "run/state")
    fixed = {"tokenizer": load_tokenizer(tokenizer).fingerprint}
    assert numbers == {"step": 2, "processes": 1, "broken": {}, "fixed": fixed}
    assert find_bundle(tmp_path / "run").metrics["step"] == 2


def refused(tmp_path: Path, run: object) -> str:
    with pytest.raises(DataError) as caught:
        PriorTrainer(run, tmp_path / "run")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shards_of_another_tokenizer_are_refused(tmp_path, shards):
    other = tokenizer_bundle(tmp_path / "other", seed=1)
    said = refused(tmp_path, prior_run("masked", other, tokens=shards))
    assert str(shards) in said and "another tokenizer (tiny-tokens" in said


def test_shards_that_do_not_fit_are_refused_by_name(tmp_path, tokenizer, shards):
    said = refused(tmp_path, prior_run("latent", tokenizer, tokens=shards))
    assert "leave out --tokens" in said
    larger = PicturesConfig("scenes", size=32, workers=0)
    said = refused(tmp_path, prior_run("masked", tokenizer, tokens=shards, data=larger))
    assert "holds 4x4 tokens" in said and "set data.size to 16" in said
    odd = PicturesConfig("scenes", size=18, workers=0)
    assert "multiple of 4" in refused(tmp_path, prior_run("masked", tokenizer, data=odd))
    few = replace(PRIORS["autoregressive"], conditions=(SemanticConfig(classes=3),))
    run = prior_run("autoregressive", tokenizer, tokens=shards, prior=few)
    assert "24 classes" in refused(tmp_path, run)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("diffusion", {"sampling": SamplingConfig(steps=99)}, "steps must be .* from 1 to 8"),
        ("latent", {"sampling": SamplingConfig(temperature=float("nan"))}, "temperature"),
        ("autoregressive", {"sampling": SamplingConfig(steps=3)}, "step per token"),
        ("masked", {"prior": replace(PRIORS["masked"], width=15)}, "test: .*width"),
    ],
)
def test_wrong_sizes_and_sampling_are_refused_before_training(
    tmp_path, tokenizer, kind, changes, words
):
    with pytest.raises(UsageError, match=words):
        PriorTrainer(prior_run(kind, tokenizer, **changes), tmp_path / "run")


def test_a_resumed_run_may_have_other_sampling_settings(tmp_path, tokenizer):
    run = prior_run("diffusion", tokenizer)
    remember_settings(run, tmp_path)
    remember_settings(replace(run, sampling=SamplingConfig(steps=5), steps=9), tmp_path)
    with pytest.raises(CheckpointError, match=r"another prior\.width"):
        remember_settings(replace(run, prior=replace(run.prior, width=32)), tmp_path)


@pytest.mark.parametrize("seed", [-1, 2**24, 20_240_101])
def test_seeds_out_of_range_are_refused(tokenizer, seed):
    with pytest.raises(ValueError, match="seed must be from 0 to 16,777,215"):
        prior_run("masked", tokenizer, seed=seed)


def test_what_a_run_says_of_its_data_and_its_model(tmp_path, tokenizer, shards):
    for tokens, source in ((None, "scenes: "), (shards, f"token shards {shards}: ")):
        trainer = PriorTrainer(prior_run("masked", tokenizer, tokens=tokens), tmp_path / "run")
        facts = trainer._facts()
        count = 24 if tokens else len(trainer.data)
        assert facts["data"] == (
            f"{source}{count:,} pictures as 4x4 tokens, {len(trainer.held_out):,} to measure on"
        )
        weights = sum(p.numel() for p in trainer.prior.parameters())
        assert facts["model"] == (
            f"masked prior, {weights:,} trained parameters; conditions: text, semantic"
        )
        assert facts["tokenizer"] == f"{tokenizer}, 24 codes"
        assert trainer._pictures() is (trainer.shards if tokens else trainer.data)
        assert trainer.contents()["pictures"] == count


@pytest.mark.parametrize(("part", "frozen"), [("tokens", "layout."), ("layout", "network.")])
def test_only_the_named_part_is_trained(tmp_path, tokenizer, part, frozen):
    planner = replace(
        PRIORS["masked"], grid=(4, 4), codebook_size=24,
        layout=LayoutConfig(width=16, layers=1, heads=2),
    )  # fmt: skip
    about = {"name": "tiny", "fingerprint": load_tokenizer(tokenizer).fingerprint}
    source = planner.build().save_pretrained(tmp_path / "source", tokenizer=about).path
    run = prior_run("masked", tokenizer, prior=planner, init=source, train_only=part)
    prior = PriorTrainer(run, tmp_path / "run").prior
    assert prior.trained_part == part
    for name, parameter in prior.named_parameters():
        is_map = name.startswith("layout.")
        assert parameter.requires_grad == (is_map == (part == "layout")), name


def test_the_best_weights_are_kept_beside_the_last(tmp_path, tokenizer, shards, monkeypatch):
    """The bundle of the best validation is that of its step."""
    losses = iter([3.0, 1.0, 2.0, 2.0])
    found = {}

    def validate(self):
        if self.reached not in found:
            found[self.reached] = next(losses)
        return "bits", found[self.reached]

    monkeypatch.setattr(PriorTrainer, "validate", validate)
    run = prior_run(
        "masked", tokenizer, tokens=shards, steps=3, save_every=1, validate_every=1, log_every=1
    )
    PriorTrainer(run, tmp_path / "run").train()
    best = find_bundle(tmp_path / "run/best")
    assert best.metrics["step"] == 2 and best.metrics["bits_per_token"] == 1.0
    assert find_bundle(tmp_path / "run/bundle").metrics["step"] == 3

"""Runs that start from a bundle's weights, and runs that train only the decoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.bundles.bundle import find_bundle
from core.checkpoints import load_tokenizer
from core.errors import CheckpointError
from core.networks.autoencoder import NetworkConfig
from core.paths import ROOT
from core.quantizers import (
    FSQConfig,
    IBQConfig,
    NSVQConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)
from core.quantizers.code_prior import gaussian_prior, read_histogram
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.train.loop.test_tokenizer import NETWORK, REGVQ, config, pictures, state
from train.config.stages import StagesConfig
from train.config.tokenizer import LossConfig
from train.loop import warm_start
from train.loop.settings import remember_settings
from train.loop.tokenizer import TokenizerTrainer
from train.recipes import config_of

__all__ = ["pictures"]  # the fixture


def bundle_of(folder: Path, quantizer=REGVQ, network=NETWORK) -> Path:
    torch.manual_seed(7)
    Tokenizer(TokenizerConfig(network, quantizer)).save_pretrained(folder)
    return folder


def test_a_run_starts_from_the_bundles_weights(tmp_path, pictures):
    source = bundle_of(tmp_path / "source")
    # settings that shape no weight are those of the run
    run = config(pictures, RegVQConfig(size=32, mask_ratio=0.1), init=source)
    trainer = TokenizerTrainer(run, tmp_path / "run")
    wanted = load_tokenizer(source).state_dict()
    for tokenizer in (trainer.tokenizer, trainer.averaged.module):
        assert all(torch.equal(x, wanted[name]) for name, x in tokenizer.state_dict().items())
    assert trainer.tokenizer.config.quantizer.mask_ratio == 0.1
    fresh = TokenizerTrainer(replace(run, init=None), tmp_path / "other").tokenizer
    assert not torch.equal(fresh.decoder.last_weight, wanted["decoder.to_pixels.weight"])


def test_a_prior_over_codes_is_the_runs_not_the_bundles(tmp_path, pictures):
    """It is stored with the weights, but the config sets it."""
    for name, seed in (("a", 1), ("b", 2)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(seed).integers(1, 9, 32))
    gaussian = RegVQConfig(size=32, prior="gaussian")
    histogram = RegVQConfig(size=32, prior="histogram", prior_file=tmp_path / "a.npy")
    wanted = {
        replace(gaussian, prior_spread=0.05): gaussian_prior(32, 0.05),
        replace(histogram, prior_file=tmp_path / "b.npy"): read_histogram(tmp_path / "b.npy", 32),
        RegVQConfig(size=32): None,
    }
    for index, source in enumerate((gaussian, histogram, RegVQConfig(size=32))):
        bundle = bundle_of(tmp_path / f"source{index}", source)
        for number, (quantizer, prior) in enumerate(wanted.items()):
            run = config(pictures, quantizer, init=bundle)
            trainer = TokenizerTrainer(run, tmp_path / f"run{index}{number}")
            found = trainer.tokenizer.quantizer.prior
            assert (found is None) if prior is None else torch.allclose(found, prior)
            codes = load_tokenizer(bundle).quantizer.codes
            assert torch.equal(trainer.tokenizer.quantizer.codes, codes)


def test_every_part_learns_and_the_bundle_names_its_source(tmp_path, pictures):
    source = bundle_of(tmp_path / "first" / "bundle")
    run = config(pictures, init=tmp_path / "first", steps=2)
    TokenizerTrainer(run, tmp_path / "run").train()
    before, after = load_tokenizer(source).state_dict(), state(tmp_path / "run")
    for part in ("encoder", "quantizer", "decoder"):
        names = [name for name in before if name.startswith(part)]
        assert any(not torch.equal(before[n], after[f"tokenizer/{n}"]) for n in names), part
    found = find_bundle(tmp_path / "run")
    assert found.config["recipe"]["init"] == "first"
    assert "weights of `first`" in found.card


def test_a_resumed_run_does_not_need_its_source(tmp_path, pictures):
    source = bundle_of(tmp_path / "source")
    whole = config(pictures, init=source)
    TokenizerTrainer(whole, tmp_path / "whole").train()
    TokenizerTrainer(replace(whole, stop_after=3), tmp_path / "parts").train()
    source.rename(tmp_path / "gone")
    TokenizerTrainer(whole, tmp_path / "parts").train()
    one, two = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("quantizer", "network", "words"),
    [
        (VQConfig(size=32), NETWORK, "VectorQuantizer, the run's is a Regularized"),
        (RegVQConfig(size=64), NETWORK, r"quantizer.codes is \(64, 4\) there and \(32, 4\) here"),
        (RegVQConfig(size=32, posterior="head"), NETWORK, "none there|none here"),
        (REGVQ, NetworkConfig((8, 12), 1, 1, latent_dim=4), "does not fit this run: encoder"),
    ],
)
def test_a_bundle_that_does_not_fit_is_named(tmp_path, pictures, quantizer, network, words):
    source = bundle_of(tmp_path / "source", quantizer, network)
    with pytest.raises(CheckpointError, match=words) as error:
        TokenizerTrainer(config(pictures, init=source), tmp_path / "run")
    assert str(source) in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_run_without_the_init_setting_resumes(tmp_path, pictures):
    run = config(pictures)
    remember_settings(run, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    older = json.loads(file.read_text())
    del older["init"], older["train_only"]
    file.write_text(json.dumps(older))
    remember_settings(run, tmp_path / "run")
    with pytest.raises(CheckpointError, match="another init"):
        remember_settings(replace(run, init=tmp_path), tmp_path / "run")


def test_a_bundle_that_is_not_there_is_named(tmp_path, pictures):
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        TokenizerTrainer(config(pictures, init=tmp_path / "nowhere"), tmp_path / "run")


@pytest.mark.parametrize(
    "quantizer",
    [
        REGVQ,
        VQConfig(size=32, codebook="ema", restart_below=0.9, decay=0.5),
        NSVQConfig(size=32, epoch=1, replacement_warmup=0),
        SimVQConfig(size=32),
        IBQConfig(size=32),
    ],
    ids=lambda q: type(q).__name__,
)
def test_only_the_decoder_is_trained(tmp_path, pictures, quantizer):
    """Only the decoder's weights change, and pictures keep their tokens."""
    source = bundle_of(tmp_path / "source", quantizer)
    loss = LossConfig(perceptual=0.0, adversarial=0.5, discriminator_start=0.0, listen_after=0.0)
    run = config(pictures, quantizer, init=source, train_only="decoder", loss=loss, steps=4)
    trainer = TokenizerTrainer(run, tmp_path / "run")
    trainer.train()
    kept, before = load_tokenizer(tmp_path / "run"), load_tokenizer(source)
    weights = load_file(tmp_path / "run/bundle/model.safetensors")
    original = load_file(source / "model.safetensors")
    for name, weight in weights.items():
        if not name.startswith("decoder."):
            assert torch.equal(weight, original[name]), name
    last = "decoder.to_pixels.weight"
    assert not torch.equal(weights[last], original[last])
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(kept.encode(image), before.encode(image))
    assert not torch.equal(kept.reconstruct(image), before.reconstruct(image))
    assert find_bundle(tmp_path / "run").config["recipe"]["train_only"] == "decoder"
    assert "same tokens" in find_bundle(tmp_path / "run").card
    trained = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in trainer.tokenizer.decoder.parameters()}


def test_tokens_are_still_sampled_while_the_decoder_trains(tmp_path, pictures):
    """Reg-VQ's decoder still sees imperfect tokens, unless the mask is set to 0."""
    source = bundle_of(tmp_path / "source")
    run = config(pictures, init=source, train_only="decoder")
    trainer = TokenizerTrainer(run, tmp_path / "run")
    seen = []
    forward = trainer.tokenizer.quantizer.forward
    trainer.tokenizer.quantizer.forward = lambda z, **given: (
        seen.append(forward(z, **given)) or seen[-1]
    )
    trainer.step(next(trainer._stream(0, 1)), 0)
    assert seen[0].mask.float().mean() > 0.35


def test_settings_that_contradict_training_the_decoder_are_refused(pictures):
    with pytest.raises(ValueError, match="set init"):
        config(pictures, train_only="decoder")
    with pytest.raises(ValueError, match="stages"):
        config(pictures, train_only="decoder", init=pictures, stages=StagesConfig())
    with pytest.raises(ValueError, match="train_only"):
        config(pictures, train_only="encoder")


def test_the_decoders_recipe_starts_from_the_shipped_tokenizer(tmp_path, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)  # from any folder
    recipe = config_of("photos-regvq-decoder")
    assert recipe.train_only == "decoder"
    base = config_of("photos-regvq")
    assert recipe.tokenizer == base.tokenizer
    assert recipe.loss.perceptual > base.loss.perceptual
    assert recipe.loss.adversarial > base.loss.adversarial
    run = replace(config(pictures), tokenizer=recipe.tokenizer, init=recipe.init)
    trainer = TokenizerTrainer(run, tmp_path / "run")
    shipped = load_tokenizer(ROOT / recipe.init)
    assert torch.equal(trainer.tokenizer.quantizer.codes, shipped.quantizer.codes)


@pytest.mark.parametrize(
    "quantizer",
    [
        RegVQConfig(size=48),
        VQConfig(size=48, codebook="ema", start="data"),
        NSVQConfig(size=48),
        SimVQConfig(size=48),
    ],
    ids=lambda q: type(q).__name__,
)
def test_codes_start_on_latents_of_the_bundles_encoder(tmp_path, pictures, quantizer):
    """Another quantizer, and more codes: the network is copied, and every code is a center."""
    source = bundle_of(tmp_path / "source")
    run = config(pictures, quantizer, init=source, codes_from="latents", steps=2)
    trainer = TokenizerTrainer(run, tmp_path / "run")
    loaded, mine = load_tokenizer(source), trainer.tokenizer
    for part in ("encoder", "decoder"):
        have, want = getattr(mine, part).state_dict(), getattr(loaded, part).state_dict()
        assert all(torch.equal(have[name], want[name]) for name in want)
    images = torch.stack([trainer.data.draw(k).image for k in range(64)])
    latents = loaded.latents(images)
    codes = mine.quantizer.codebook().detach()
    assert codes.shape == (48, 4)
    # The codes are among the latents: a tenth of the variance is lost; with random codes, most.
    rows = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    nearest = mine.eval().quantizer.embed(mine.quantizer.assign(latents))
    lost = (nearest - latents).square().mean() / rows.var(0).mean()
    assert float(lost.detach()) < 0.2
    assert torch.equal(trainer.averaged.module.quantizer.codebook(), codes)
    trainer.train()
    found = find_bundle(tmp_path / "run")
    assert found.config["recipe"]["codes_from"] == "latents"
    assert "k-means centers" in found.card
    resumed = TokenizerTrainer(replace(run, steps=3), tmp_path / "run")
    resumed.train()  # with its own codes
    assert resumed.reached == 3


def test_codes_start_on_as_many_latents_as_were_asked_for(monkeypatch):
    """Whole batches are taken until there are enough latents, and no more."""
    found = []
    monkeypatch.setattr(warm_start, "LATENTS_PER_CODE", 3)
    monkeypatch.setattr(warm_start, "kmeans", lambda pool, *_: found.append(pool) or "centers")
    monkeypatch.setattr(warm_start, "copy_of_first", lambda centers: centers)
    quantizer = SimpleNamespace(initialize_codes=found.append)
    tokenizer = SimpleNamespace(codebook_size=7, latents=lambda x: x, quantizer=quantizer)
    batches = iter(torch.arange(80.0).view(10, 2, 1, 2, 2).unbind())  # of 8 latents
    warm_start.codes_from_latents(tokenizer, batches)
    assert found[0].flatten().tolist() == list(range(24)) and found[1:] == ["centers"]
    assert float(next(batches)[0, 0, 0, 0]) == 24


def test_codes_that_cannot_start_on_latents_are_named(tmp_path, pictures):
    source = bundle_of(tmp_path / "source")
    with pytest.raises(ValueError, match="set init"):
        config(pictures, codes_from="latents")
    with pytest.raises(ValueError, match="'init' or 'latents'"):
        config(pictures, codes_from="data")
    run = config(pictures, FSQConfig(levels=(4,) * 4), init=source, codes_from="latents")
    with pytest.raises(CheckpointError, match="FiniteScalarQuantizer has no codes"):
        TokenizerTrainer(run, tmp_path / "run")
    wider = replace(NETWORK, decoder_widths=(8, 24))
    run = config(pictures, init=source, codes_from="latents")
    run = replace(run, tokenizer=TokenizerConfig(wider, REGVQ))
    with pytest.raises(CheckpointError, match="does not fit this run"):
        TokenizerTrainer(run, tmp_path / "run")

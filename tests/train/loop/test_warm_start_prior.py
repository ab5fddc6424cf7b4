"""Runs of priors that start from another prior's weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.bundles.bundle import find_bundle
from core.checkpoints import load_prior, load_tokenizer, prior_tokenizer
from core.errors import CheckpointError
from core.priors import LayoutConfig
from tests.helpers.tiny_prior_runs import PRIORS, SEMANTIC, TEXT, prior_run, tokenizer_bundle
from train.loop.prior import PriorTrainer

LAYOUT = LayoutConfig(width=16, layers=1, heads=2)


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.loop.prior.HELD_OUT", 4)
    monkeypatch.setattr("train.loop.prior.READ", 20)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_bundle(tmp_path_factory.mktemp("old") / "first-tokens")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_bundle(tmp_path_factory.mktemp("new") / "retrained-tokens", seed=1)


def trained(kind: str, tokenizer: Path, out: Path) -> Path:
    PriorTrainer(prior_run(kind, tokenizer, steps=1), out).train()
    return out


@pytest.mark.slow
def test_a_prior_is_trained_further_on_a_retrained_tokenizers_tokens(tmp_path, old, new):
    source = trained("diffusion", old, tmp_path / "source")
    run = prior_run("diffusion", new, init=source, steps=4, seed=3)
    trainer = PriorTrainer(run, tmp_path / "run")
    wanted = load_prior(source).state_dict()
    assert bool((wanted["network.conditioner.encoders.text.known"] >= 0).any())  # its vocabulary
    for prior in (trainer.prior, trainer.averaged.module):
        assert all(torch.equal(x, wanted[name]) for name, x in prior.state_dict().items())
    PriorTrainer(replace(run, stop_after=2), tmp_path / "run").train()
    # A resumed run does not need its source.
    source.rename(tmp_path / "gone")
    PriorTrainer(run, tmp_path / "run").train()
    found = find_bundle(tmp_path / "run")
    assert found.metrics["step"] == 4
    recipe = found.config["recipe"]
    assert (recipe["init"], recipe["init_tokenizer"]) == ("source", "first-tokens")
    assert "weights of the prior `source`, which drew tokens of the tokenizer `first-tokens`" in (
        found.card
    )
    assert prior_tokenizer(found, new.parent).path == new
    assert str(tmp_path) not in json.dumps(found.config) + found.card


def test_on_the_same_tokens_no_other_tokenizer_is_mentioned(tmp_path, old):
    source = trained("masked", old, tmp_path / "source")
    run = prior_run("masked", old, init=source / "bundle", steps=1)
    PriorTrainer(run, tmp_path / "run").train()
    found = find_bundle(tmp_path / "run")
    assert found.config["recipe"]["init_tokenizer"] is None
    assert "weights of the prior `source`\n" in found.card
    assert "weights of the prior" not in find_bundle(source).card


@pytest.mark.slow
def test_a_prior_of_another_kind_shares_its_common_weights(tmp_path, old):
    source = trained("autoregressive", old, tmp_path / "source")  # conditioned on a map: one layer
    deeper = replace(PRIORS["diffusion"], layers=2)
    run = prior_run("diffusion", old, prior=deeper, init=source, steps=1)
    started = PriorTrainer(run, tmp_path / "run").prior
    network, theirs = started.network, load_prior(source).network.state_dict()
    mine = network.state_dict()
    for name in ("embed.weight", "row", "head.weight", "transformer.blocks.0.qkv.weight"):
        assert torch.equal(mine[name], theirs[name]), name
    assert "conditioner.encoders.semantic.known" not in mine and started.conditioner.has_memory
    # The gate of the copied layer is open as trained; that of the new layer is closed.
    first, second = (block.modulation.tolist() for block in network.transformer.blocks)
    assert [row[0] for row in first] == [0, 0, 1, 0, 0, 1] and not any(map(any, second))
    PriorTrainer(run, tmp_path / "run").train()
    assert "**Initialized from:** the weights of the prior `source`\n" in (
        find_bundle(tmp_path / "run").card
    )
    # A condition of both priors is copied with its vocabulary.
    both = trained("masked", old, tmp_path / "both")
    taken = PriorTrainer(prior_run("diffusion", old, init=both), tmp_path / "other").prior
    known = "network.conditioner.encoders.text.known"
    assert torch.equal(taken.state_dict()[known], load_prior(both).state_dict()[known])


@pytest.mark.slow
def test_a_prior_with_more_conditions_takes_the_weights_that_fit(tmp_path, old):
    source = trained("diffusion", old, tmp_path / "source")  # conditioned on text
    theirs = load_prior(source).state_dict()
    planner = replace(PRIORS["diffusion"], conditions=(TEXT, SEMANTIC), layout=LAYOUT)
    run = prior_run("diffusion", old, prior=planner, init=source, steps=2, train_only="layout")
    trainer = PriorTrainer(run, tmp_path / "run")
    before = {name: x.clone() for name, x in trainer.prior.state_dict().items()}
    assert all(torch.equal(x, before[name]) for name, x in theirs.items())
    # Only the prior of maps learns; it knows the words of the captions, too.
    trainer.train()
    after = trainer.prior.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("layout.") for name in moved)
    known = after["layout.prior.network.conditioner.encoders.text.known"]
    assert torch.equal(known, after["network.conditioner.encoders.text.known"]) and known.max() > 0
    found = find_bundle(tmp_path / "run")
    assert "the prior `source`; only the part that draws maps was trained\n" in found.card
    assert "- **Two-stage:** without a given map it first draws one" in found.card
    assert "pictures conditioned on a text, with or without a semantic map, as" in found.card
    assert 'condition = Condition(texts=("a lake below mountains",))\n' in found.card
    assert "ids = prior.generate(condition, n=4" in found.card
    logged = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert any("layout_bits" in line for line in logged)
    assert not any("variational" in line for line in logged)
    # The other way round.
    rest = replace(run, init=tmp_path / "run", train_only="tokens")
    trainer = PriorTrainer(rest, tmp_path / "rest")
    stored = load_prior(tmp_path / "run").state_dict()
    started = {name: x.clone() for name, x in trainer.prior.state_dict().items()}
    assert started.keys() == stored.keys()
    assert all(torch.equal(x, stored[name]) for name, x in started.items())
    trainer.train()
    after = trainer.prior.state_dict()
    moved = {name for name in started if not torch.equal(started[name], after[name])}
    assert moved and not any(name.startswith("layout.") for name in moved)
    assert "only the part that draws tokens was trained" in find_bundle(tmp_path / "rest").card


def test_only_a_prior_of_maps_can_train_a_part(old):
    planner = replace(PRIORS["diffusion"], conditions=(TEXT, SEMANTIC), layout=LAYOUT)
    for prior, init, words in (
        (planner, None, "set init"),
        (PRIORS["diffusion"], old, "set its layout"),
        (PRIORS["latent"], old, "set its layout"),
    ):
        for part in ("layout", "tokens"):
            with pytest.raises(ValueError, match=f"train_only {part} needs .* {words}"):
                prior_run("diffusion", old, prior=prior, init=init, train_only=part)


@pytest.mark.parametrize("kind", ["autoregressive", "diffusion", "masked"])
def test_token_embeddings_start_as_similar_as_their_codes(tmp_path, old, kind):
    codes = load_tokenizer(old).quantizer.codebook().detach()
    ids = torch.tensor([[[3, 0], [7, 3]]])
    torch.testing.assert_close(
        load_tokenizer(old).quantizer.embed(ids)[0].movedim(0, 2), codes[ids[0]]
    )

    def likeness(weight: torch.Tensor) -> float:
        pairs = [torch.cdist(x, x).flatten() for x in (codes, weight[: len(codes)].detach())]
        return float(torch.corrcoef(torch.stack(pairs))[0, 1])

    started = {
        how: PriorTrainer(prior_run(kind, old, embeddings=how), tmp_path / how).prior.network
        for how in ("codes", "random")
    }
    for weight in ("embed.weight", "head.weight"):
        found = {how: likeness(network.get_parameter(weight)) for how, network in started.items()}
        assert found["codes"] > 0.8 > found["random"], (weight, found)
    assert (started["codes"].column.std() > 0.03) and (started["random"].column.std() < 0.03)
    PriorTrainer(prior_run(kind, old, steps=1), tmp_path / "run").train()
    assert "**Initialized from:** token embeddings and output weights projected" in (
        find_bundle(tmp_path / "run").card
    )


def test_position_embeddings_start_more_similar_when_near():
    network = replace(PRIORS["autoregressive"], width=128, grid=(12, 16)).build().network
    network.init_positions(torch.Generator().manual_seed(0))
    for places in (network.row, network.column):
        apart = torch.cdist(places, places).detach()
        at = torch.arange(len(places))
        far = (at[:, None] - at).abs()
        assert float(torch.corrcoef(torch.stack([apart.flatten(), far.flatten()]))[0, 1]) > 0.9
        assert 0.03 < float(places.detach().std()) < 0.08
    replace(
        PRIORS["autoregressive"], grid=(1, 1)
    ).build().network.init_positions()  # too small for any wave


def test_another_tokenizers_latents_are_measured_again(tmp_path, old, new):
    source = trained("latent", old, tmp_path / "source")
    started = [
        PriorTrainer(prior_run("latent", tokenizer, init=source), tmp_path / tokenizer.name).prior
        for tokenizer in (old, new)
    ]
    assert float(started[0].std) > 0 and float(started[1].std) == 0
    assert torch.equal(started[0].unet.conv_in.weight, started[1].unet.conv_in.weight)


@pytest.mark.slow
def test_a_prior_that_does_not_fit_is_named(tmp_path, old):
    source = trained("masked", old, tmp_path / "source")
    wider = replace(PRIORS["masked"], width=32)
    heads = replace(PRIORS["autoregressive"], heads=1)
    cases = [
        (prior_run("latent", old), "kind is masked, the run's is latent"),
        (prior_run("autoregressive", old, prior=heads), "heads.* must be the same"),
        (prior_run("autoregressive", old, prior=replace(heads, width=32)), "must be the same"),
        (prior_run("masked", old, prior=wider), r"is \(.*16\) there and \(.*32\) here; sizes"),
        (prior_run("masked", old, prior=replace(wider, width=16, layers=2)), "none there"),
    ]
    for run, words in cases:
        with pytest.raises(CheckpointError, match=words) as error:
            PriorTrainer(replace(run, init=source), tmp_path / "run")
        assert str(source) in str(error.value) and "\n" not in str(error.value)
    for other, words in ((old, "tokenizer"), (tmp_path / "nowhere", "nowhere")):
        with pytest.raises(CheckpointError, match=words):
            PriorTrainer(prior_run("masked", old, init=other), tmp_path / "run")
    assert not (tmp_path / "run").exists()

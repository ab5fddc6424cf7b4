"""Runs of priors over several ids per position: resuming, files, figures and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.bundles.bundle import find_bundle
from core.checkpoints import load_prior, load_tokenizer
from core.quantizers import LevelsConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers.tiny_prior_runs import CODES, prior_run, scene_shards, tiny_tokenizer
from tests.train.loop.test_prior import few_held_out, state
from train.cli.errors import UsageError
from train.evaluate import main as evaluate
from train.loop.prior import PriorTrainer

__all__ = ["few_held_out"]  # a fixture


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = tiny_tokenizer().config.network
    config = TokenizerConfig(network, VQConfig(size=CODES), levels=LevelsConfig(residual=2))
    made = Tokenizer(config).eval()
    for parameter in made.quantizer.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    return made.save_pretrained(tmp_path_factory.mktemp("bundles") / "two-levels").path


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return scene_shards(tmp_path_factory.mktemp("shards") / "scenes", tokenizer)


@pytest.mark.parametrize("kind", ["autoregressive", "masked"])
def test_a_run_over_levels_resumes_exactly_and_its_bundle_draws(
    tmp_path, tokenizer, shards, kind: str
) -> None:
    whole = prior_run(kind, tokenizer, tokens=shards)
    PriorTrainer(whole, tmp_path / "whole").train()
    PriorTrainer(replace(whole, stop_after=3), tmp_path / "parts").train()
    torch.manual_seed(123)
    PriorTrainer(whole, tmp_path / "parts").train()
    one, two = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]
    a, b = (load_file(tmp_path / n / "bundle/model.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    bundle = find_bundle(tmp_path / "whole")
    assert bundle.config["prior"]["levels"] == 2
    assert "2 tokens at each of 4x4 positions of the tokenizer `two-levels`" in bundle.card
    assert "**Levels:** the levels" in bundle.card
    prior = load_prior(bundle)
    ids = prior.generate(n=2, generator=torch.Generator().manual_seed(0))
    assert ids.shape == (2, 2, 4, 4)
    assert load_tokenizer(tokenizer).decode(ids).shape == (2, 3, 16, 16)


def test_pictures_encoded_on_the_fly_have_levels(tmp_path, tokenizer) -> None:
    trainer = PriorTrainer(prior_run("autoregressive", tokenizer), tmp_path / "fly")
    (batch,) = trainer._stream(0, 1)
    assert batch.ids.shape == (4, 2, 4, 4)
    codes = trainer.tokenizer.quantizer.level_codebooks()
    embeddings = [table.weight for table in trainer.prior.network.embed.tables]
    for codebook, table in zip(codes, embeddings, strict=True):  # projections: of equal rank
        rows = table[:CODES] - table[:CODES].mean(0)
        assert torch.linalg.matrix_rank(rows, rtol=1e-3) == codebook.shape[1]
    assert trainer._facts()["tokenizer"].endswith("24 codes at each of 2 levels")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("diffusion", "a discrete diffusion prior draws one id per position, but the tokenizer has "
                      "2 levels: choose an autoregressive or a masked prior"),
        ("latent", "a latent diffusion prior draws latents for one code per position, but .* has 2 "
                   "levels: choose an autoregressive or a masked prior"),
    ],
)  # fmt: skip
def test_other_priors_refuse_levels(tmp_path, tokenizer, kind: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"test: {words}"):
        PriorTrainer(prior_run(kind, tokenizer), tmp_path / "run")


def test_a_prior_over_levels_is_evaluated(tmp_path, tokenizer, shards) -> None:
    out = tmp_path / "painter"
    PriorTrainer(prior_run("masked", tokenizer, tokens=shards, steps=2), out).train()
    report = tmp_path / "report.json"
    evaluate(["--checkpoint", str(out), "--data.name", "scenes", "--limit", "3", "--device", "cpu",
              "--prior.tokenizer", str(tokenizer), "--features.name", "none",
              "--out", str(report)])  # fmt: skip
    figures = json.loads(report.read_text())
    assert figures["pictures"] == 3
    assert figures["bits_per_token"] > 0

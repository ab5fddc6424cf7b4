"""Recipes of priors: their sizes as published, and one step of each on a tiny data set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from core.bundles.bundle import find_bundle
from core.checkpoints import load_prior
from core.conditions import SemanticConfig, TextConfig
from core.data import open_dataset
from core.data.datasets.cub import CUB
from core.priors import AutoregressiveConfig, DiffusionConfig, LatentConfig
from tests.helpers import published_layouts as made
from tests.helpers.tiny_prior_runs import tokenizer_bundle
from train.loop.prior import PriorTrainer
from train.recipes import GROUPS, config_of, recipe_of

MODULES = ("priors", "papers.priors")
NAMES = [name for group in GROUPS if group.module in MODULES for name in group.names]
PAPERS = ("ade20k-semantic-ar", "celebamask-semantic-ar", "cub-text-diffusion",
          "coco-text-diffusion-large", "imagenet128-latent")  # fmt: skip


class Tower(nn.Module):
    """A stand-in for CLIP's text tower, whose weights would have to be downloaded."""

    width, output_dim, context_length = 512, 512, 77

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(49_408, 512)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.embed(ids)
        return tokens.mean(1), tokens


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.conditions.text._pretrained_tower", lambda name: Tower())
    monkeypatch.setattr("train.loop.prior.HELD_OUT", 2)
    monkeypatch.setattr("train.loop.prior.READ", 4)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tokens")


@pytest.mark.parametrize("name", PAPERS)
def test_sizes_are_those_of_the_papers(name: str) -> None:
    config = config_of(name)
    with torch.device("meta"):
        prior = config.prior.build()
    assert config.data.size == (128 if name.startswith("imagenet") else 256)
    if name == "cub-text-diffusion":
        assert config.steps == 400 * CUB.counts["train"] // config.batch
    assert prior.grid == (16, 16)
    if isinstance(config.prior, LatentConfig):
        unet = prior.unet.config
        assert unet.block_out_channels == (256, 512, 1024) and unet.in_channels == 128
        assert config.prior.timesteps == 1000 and config.prior.betas == (1e-4, 2e-2)
        assert config.steps * config.batch * 4 == pytest.approx(100 * 1_281_167, rel=1e-3)
        return
    layers, kind = {"ar": (24, AutoregressiveConfig)}.get(name[-2:], (19, DiffusionConfig))
    assert type(config.prior) is kind
    assert (config.prior.width, config.prior.layers, config.prior.heads) == (1024, layers, 16)
    # Attention and the gated layer of a transformer of width C have 12 C^2 weights; cross-attention
    # and norms that depend on the time come on top.
    assert sum(p.numel() for p in prior.parameters()) > layers * 12 * 1024**2
    if kind is DiffusionConfig:
        assert config.prior.timesteps == 100
        assert config.prior.conditions[0].pretrained == "ViT-B-32/openai"
        assert config.optimizer.betas == (0.9, 0.96) and config.optimizer.weight_decay == 0.045


def test_the_papers_priors_are_in_the_list() -> None:
    assert set(PAPERS) < set(NAMES) and len(NAMES) == 15


@pytest.mark.parametrize("name", PAPERS)
def test_docstrings_give_figure_source_and_inferred_settings(name: str) -> None:
    words = " ".join((recipe_of(name).__doc__ or "").split())
    assert "Aims at FID" in words and "arXiv" in words
    assert "nferred" in words or "Otherwise as ade20k-semantic-ar" in words


@pytest.mark.parametrize("name", NAMES)
def test_one_step_on_the_published_layout(name: str, tmp_path: Path, tokenizer: Path) -> None:
    """One step of the recipe with smaller sizes."""
    config = config_of(name)
    data = config.data.name
    root = None if data == "scenes" else made.LAYOUTS[data](tmp_path / "data")
    held_out = open_dataset(data, root, size=16, split="test")
    told = []
    for condition in config.prior.conditions:
        if isinstance(condition, TextConfig) and condition.pretrained is None:
            assert condition.layers >= 1
            condition = replace(condition, width=16, layers=1, heads=2, vocabulary=20)
        if isinstance(condition, SemanticConfig):
            assert condition.classes == len(held_out.classes)
            condition = replace(condition, width=8)
        told.append(condition)
    small = {"width": 16, "layers": 1, "heads": 2}
    if isinstance(config.prior, LatentConfig):
        small = {"width": 32, "factors": (1, 2), "blocks": 1, "head_width": 8}
    config = replace(
        config,
        prior=replace(config.prior, **small, conditions=tuple(told)),
        tokenizer=tokenizer,
        data=replace(config.data, root=root, size=16, workers=0),
        sampling=replace(config.sampling, steps=config.sampling.steps and 2),
        batch=2,
        steps=1,
        precision="fp32",
    )
    trainer = PriorTrainer(config, tmp_path / "run")
    before = [p.detach().clone() for p in trainer.prior.parameters()]
    trainer.train()
    moved = [not torch.equal(p, q) for p, q in zip(trainer.prior.parameters(), before, strict=True)]
    assert (
        sum(moved) > len(moved) / 4
    )  # layers that start at zero block the gradients of those before them
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert all(value == value for line in lines for value in line.values())  # none is NaN
    bundle = find_bundle(tmp_path / "run")
    assert bundle.config["recipe"]["name"] == name and bundle.metrics["step"] == 1
    assert load_prior(bundle).grid == (4, 4)

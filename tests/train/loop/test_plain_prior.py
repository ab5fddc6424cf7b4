"""Steps of the priors' trainer against a plain loop.

The losses are the priors' own (``tests/core/priors/test_losses.py`` compares them); the plain loop
adds up those that are trained on, and writes out noise, rates, clipping, AdamW and averages.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.conditions.from_samples import condition_of
from core.priors import LayoutConfig
from tests.helpers.plain_training import (
    PlainAdamW,
    PlainAverage,
    clipped,
    largest_gap,
    level,
    put,
    rate,
    weights_of,
)
from tests.helpers.tiny_prior_runs import PRIORS, prior_run, tokenizer_bundle
from train.config.base import AdamWConfig
from train.loop.prior import PriorTrainer

OPTIMIZER = AdamWConfig(lr=2e-3, betas=(0.8, 0.9), weight_decay=0.1, warmup=0.3, clip=0.3, ema=0.3)
TRAINED = {
    "autoregressive": {"nll"},
    "diffusion": {"variational", "auxiliary"},
    "masked": {"masked"},
    "latent": {"denoising"},
    "planned": {"masked", "layout"},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tokens")


@pytest.mark.parametrize("kind", TRAINED)
def test_steps_are_those_of_a_plain_loop(
    tmp_path: Path, tokenizer: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.loop.prior.READ", 20)
    prior = PRIORS["masked" if kind == "planned" else kind]
    if kind == "planned":
        prior = replace(prior, layout=LayoutConfig(width=16, layers=1, heads=2))
    run = prior_run("masked" if kind == "planned" else kind, tokenizer, prior=prior)
    run = replace(run, steps=8, batch=2, seed=5, precision="fp32", optimizer=OPTIMIZER)
    trainer = PriorTrainer(run, tmp_path / "run")
    plain = copy.deepcopy(trainer.prior).train()
    weights = weights_of(plain)
    adam, average = PlainAdamW(OPTIMIZER.betas, OPTIMIZER.weight_decay), PlainAverage(0.3)
    norms = []
    for step, batch in enumerate(itertools.islice(trainer._stream(0, 8), 6)):
        found = {name: float(x) for name, x in trainer.step(batch, step).items()}
        condition = condition_of(prior.conditions, batch.captions, batch.segmentation, batch.labels)
        noise = torch.Generator().manual_seed((5 << 40) + (step << 16))
        losses = plain.loss(batch.ids, condition, noise)
        learned = {n: p for n, p in plain.named_parameters() if p.requires_grad}
        total = sum(losses[name] for name in TRAINED[kind])
        grads = torch.autograd.grad(total, list(learned.values()), allow_unused=True)
        grads = {n: g for n, g in zip(learned, grads, strict=True) if g is not None}
        grads, norm = clipped(grads, OPTIMIZER.clip)
        norms.append(norm)
        share = rate(step, 8, OPTIMIZER.warmup)
        adam.step(
            weights,
            grads,
            dict.fromkeys(learned, OPTIMIZER.lr * share),
            {name: p.ndim >= 2 for name, p in learned.items()},
        )
        put(plain, weights)
        average.update(weights)
        logged = {name: float(x.detach()) for name, x in losses.items()} | {"gradient_norm": norm}
        assert found == pytest.approx(logged, rel=1e-3, abs=1e-6), step
        for module, wanted in (
            (trainer.prior, weights),
            (trainer.averaged.module, average.weights),
        ):
            gap, name = largest_gap(module, wanted, adam.noise)
            assert gap < 5e-5, f"step {step}: {name} differs by {gap}"
            level(module, wanted, adam.noise)
    assert max(norms) > OPTIMIZER.clip

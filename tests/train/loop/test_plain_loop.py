"""Steps of the tokenizer's trainer against a plain loop.

The plain loop takes the networks and the quantizer's own losses as they are (both have tests of
their own) and writes everything else out: the picture losses, the adaptive weight by two backward
passes, the discriminator, rates, clipping, AdamW, averages, and the stages of NSVQ.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.networks.features import load_features
from core.quantizers import GumbelConfig, NSVQConfig, RegVQConfig, SimVQConfig, VQConfig
from tests.core.networks.test_networks import keras_like
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
from tests.train.loop.test_tokenizer import config, pictures
from train.config.stages import StagesConfig
from train.config.tokenizer import FeatureConfig, LossConfig, OptimizerConfig, RunConfig
from train.loop.tokenizer import TokenizerTrainer

__all__ = ["pictures"]  # the fixture

OPTIMIZER = OptimizerConfig(
    lr=1e-3,
    betas=(0.8, 0.9),
    weight_decay=0.1,
    warmup=0.3,
    clip=0.5,
    ema=0.3,
    discriminator_lr=3e-3,
    discriminator_betas=(0.6, 0.7),
)
LOSS = LossConfig(
    l1=0.7,
    l2=0.3,
    perceptual=0.6,
    contrastive="pcl",
    contrastive_weight=0.2,
    adversarial=0.8,
    discriminator_start=0.3,
    listen_after=0.2,
    ramp=0.4,
)


def unit(x: Tensor) -> Tensor:
    return x / (x.pow(2).sum(1, keepdim=True) + 1e-10).sqrt()


def perceptual(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Return the mean over layers, pictures and positions of squared distances of unit features."""
    layers = [(unit(a) - unit(b)).pow(2).sum(1).mean() for a, b in zip(real, fake, strict=True)]
    return sum(layers) / len(layers)


def contrastive(kind: str, real: list[Tensor], fake: list[Tensor], quantized: Any) -> Tensor:
    """Return Reg-VQ's Eq. 2 (cl) or Eq. 3 (pcl), the mean over layers of at least half the grid."""
    batch, height, width = quantized.ids.shape
    terms = []
    for a, b in zip(real, fake, strict=True):
        if a.shape[2] * 2 <= height or a.shape[3] * 2 <= width:
            continue
        y, z = (
            F.normalize(
                F.adaptive_avg_pool2d(x, (height, width))
                if x.shape[2] >= height and x.shape[3] >= width
                else F.interpolate(x, (height, width), mode="bilinear"),
                dim=1,
            )
            .flatten(2)
            .transpose(1, 2)
            for x in (a, b)
        )
        total, count = torch.zeros(()), 0
        for picture, i in itertools.product(range(batch), range(height * width)):
            logits = (z[picture] @ y[picture, i].detach()) / 0.07
            if kind == "pcl" and quantized.perturbation is not None:
                if not quantized.mask[picture].flatten()[i]:
                    continue
                w = quantized.perturbation[picture].flatten()
                share = w / w.sum() if w.sum() > 0 else torch.ones_like(w) / len(w)
                boost = torch.zeros_like(logits)
                boost[i] = torch.log(len(w) * share[i] + 1e-2)
                logits = logits + boost
            total, count = total - (logits[i] - logits.logsumexp(0)), count + 1
        terms.append(total / max(count, 1))
    return sum(terms) / len(terms)


class PlainLoop:
    """The same run, written plainly."""

    def __init__(self, trainer: TokenizerTrainer, run: RunConfig) -> None:
        self.run = run
        self.tokenizer = copy.deepcopy(trainer.tokenizer)
        self.discriminator = copy.deepcopy(trainer.discriminator)
        self.features = trainer.features
        self.weights = weights_of(self.tokenizer)
        self.adam = PlainAdamW(run.optimizer.betas, run.optimizer.weight_decay)
        self.average = PlainAverage(run.optimizer.ema)
        self.logged: dict[str, float] = {}
        if self.discriminator is not None:
            self.judge_weights = weights_of(self.discriminator)
            self.judge_adam = PlainAdamW(
                run.optimizer.discriminator_betas, run.optimizer.weight_decay
            )

    def picture_losses(self, images: Tensor, decoded: Tensor, quantized: Any) -> Tensor:
        loss = self.run.loss
        terms: dict[str, Tensor] = {}
        if loss.l1:
            terms["l1"] = loss.l1 * (decoded - images).abs().mean()
        if loss.l2:
            terms["l2"] = loss.l2 * ((decoded - images) ** 2).mean()
        if self.features is not None:
            real, fake = [x.detach() for x in self.features(images)], self.features(decoded)
            if loss.perceptual:
                terms["perceptual"] = loss.perceptual * perceptual(real, fake)
            if loss.contrastive != "none":
                terms["contrastive"] = loss.contrastive_weight * contrastive(
                    loss.contrastive, real, fake, quantized
                )
        self.logged |= {name: float(x.detach()) for name, x in terms.items()}
        return sum(terms.values())

    def step(
        self,
        images: Tensor,
        step: int,
        *,
        frozen: bool = False,
        judged: bool = True,
        scale: float | None = None,
    ) -> None:
        """Take a step; ``scale`` of the adversarial weight, by default that of the settings."""
        run, loss, tokenizer = self.run, self.run.loss, self.tokenizer
        self.logged = {}
        progress, share = step / run.steps, rate(step, run.steps, run.optimizer.warmup)
        tokenizer.quantizer.schedule(progress)
        tokenizer.quantizer.encoder_frozen = frozen
        tokenizer.encoder.requires_grad_(not frozen)
        noise = torch.Generator().manual_seed((run.seed << 40) + (step << 16))
        decoded, latents, quantized = tokenizer(images, noise)
        if getattr(run.tokenizer.quantizer, "start", "uniform") != "uniform" and step == 0:
            # The first pass has put the codes on its latents.
            self.weights["quantizer.codes"] = tokenizer.quantizer.codes.detach().double().clone()
        wanted = self.picture_losses(images, decoded, quantized)
        judged = judged and self.discriminator is not None
        judged = judged and progress >= loss.discriminator_start
        begins = loss.discriminator_start + loss.listen_after
        if scale is None:
            risen = (progress - begins) / loss.ramp if loss.ramp else 1.0
            scale = min(risen, 1.0) if progress >= begins else 0.0
        total = wanted
        if judged and scale > 0:
            adversarial = -self.discriminator(decoded).mean()
            weight = torch.ones(())
            if loss.adaptive:
                last = tokenizer.decoder.last_weight
                a, b = (
                    torch.autograd.grad(x, last, retain_graph=True)[0].norm()
                    for x in (wanted, adversarial)
                )
                weight = (a / (b + 1e-4)).clamp(max=1e4)
            weight = weight * loss.adversarial * scale
            self.logged |= {
                "adversarial": float(adversarial.detach()),
                "adversarial_weight": float(weight),
            }
            total = total + weight * adversarial
        self.logged |= {name: float(x.detach()) for name, x in quantized.losses.items()}
        total = total + sum(quantized.losses.values())
        learned = {n: p for n, p in tokenizer.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(total, list(learned.values()), allow_unused=True)
        gradients = {name: g for name, g in zip(learned, found, strict=True) if g is not None}
        gradients, self.logged["gradient_norm"] = clipped(gradients, run.optimizer.clip)
        if judged:
            self._train_judge(images, decoded.detach(), share)
        matrices = {name: p.ndim >= 2 for name, p in learned.items()}
        of_codes = {name: name.startswith("quantizer.") for name in learned}
        self.adam.step(
            self.weights,
            gradients,
            {
                n: run.optimizer.lr * share * (run.codes_rate if of_codes[n] and matrices[n] else 1)
                for n in learned
            },
            {n: matrices[n] and not of_codes[n] for n in learned},
        )
        put(tokenizer, self.weights)
        replaced = tokenizer.quantizer.update(latents.detach(), quantized.ids)
        codes = getattr(tokenizer.quantizer, "codes", None)
        if codes is not None and (replaced is not None or not codes.requires_grad):
            self.weights["quantizer.codes"] = codes.detach().double().clone()
        self.average.update(self.weights)
        if replaced is not None:
            for moments in (self.adam.m, self.adam.v):
                moments["quantizer.codes"][replaced] = 0
            self.average.weights["quantizer.codes"][replaced] = self.weights["quantizer.codes"][
                replaced
            ]

    def _train_judge(self, images: Tensor, decoded: Tensor, share: float) -> None:
        """Take the discriminator's step on the hinge loss."""
        real, fake = self.discriminator(images), self.discriminator(decoded)
        hinge = torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()
        self.logged["discriminator"] = float(hinge / 2)
        learned = dict(self.discriminator.named_parameters())
        found = torch.autograd.grad(hinge / 2, list(learned.values()))
        lr = self.run.optimizer.discriminator_lr * share
        self.judge_adam.step(
            self.judge_weights,
            dict(zip(learned, (g.double() for g in found), strict=True)),
            dict.fromkeys(learned, lr),
            {name: p.ndim >= 2 for name, p in learned.items()},
        )

    def apply_judge(self) -> None:
        """Put the discriminator's new weights in place, after the tokenizer's step used the old."""
        if self.discriminator is not None:
            put(self.discriminator, self.judge_weights)


def follow(
    trainer: TokenizerTrainer,
    run: RunConfig,
    steps: int,
    stage: Callable[[int], dict[str, Any]] = lambda step: {},
    within: float = 5e-5,
) -> list[dict[str, float]]:
    """Take steps with both and compare logs, weights and averages after each; return the logs."""
    plain, logs = PlainLoop(trainer, run), []
    for step, images in enumerate(itertools.islice(trainer._stream(0, run.steps), steps)):
        losses = {name: float(x) for name, x in trainer.step(images, step).items()}
        stage_of_step = stage(step)
        plain.step(images, step, **{k: v for k, v in stage_of_step.items() if k != "then"})
        plain.apply_judge()
        if stage_of_step.get("then"):
            stage_of_step["then"](plain)
        logs.append(plain.logged)
        losses.pop("stage", None)
        assert losses == pytest.approx(plain.logged, rel=1e-3, abs=1e-6), step
        pairs = [
            (trainer.tokenizer, plain.weights, plain.adam.noise),
            (trainer.averaged.module, plain.average.weights, plain.adam.noise),
        ]
        if trainer.discriminator is not None:
            pairs.append((trainer.discriminator, plain.judge_weights, plain.judge_adam.noise))
        for place, (module, weights, noise) in enumerate(pairs):
            gap, name = largest_gap(module, weights, noise)
            whose = ("tokenizer", "average", "discriminator")[place]
            assert gap < within, f"step {step}: {name} of the {whose} differs by {gap}"
            level(module, weights, noise)
    return logs


def run_of(folder: Path, quantizer: Any, **changes: Any) -> RunConfig:
    """Return a run of 8 steps on crops of 16 pixels, in float32."""
    run = config(
        folder,
        quantizer,
        **(
            {"steps": 8, "optimizer": OPTIMIZER, "precision": "fp32", "seed": 3, "batch": 2}
            | changes
        ),
    )
    return replace(run, data=replace(run.data, size=16, last_size=None))


@pytest.mark.parametrize(
    ("quantizer", "changes"),
    [
        (RegVQConfig(size=16, temperature=0.7), {"codes_rate": 5.0}),
        (GumbelConfig(size=16), {"loss": replace(LOSS, adaptive=False, contrastive="cl")}),
        (VQConfig(size=16, codebook="ema", start="data"), {"loss": replace(LOSS, l2=0.0)}),
        (VQConfig(size=16, start="data", restart_below=0.5, decay=0.5), {}),
        (SimVQConfig(size=16), {"codes_rate": 3.0}),
    ],
    ids=["regvq", "gumbel", "vq-ema", "vq-restart", "simvq"],
)
def test_steps_are_those_of_a_plain_loop(
    tmp_path: Path, pictures: Path, quantizer: Any, changes: dict[str, Any]
) -> None:
    _, npz, _ = keras_like(tmp_path)
    features = FeatureConfig("squeezenet", npz)
    assert load_features("squeezenet", npz) is not None
    run = run_of(pictures, quantizer, **({"loss": LOSS, "features": features} | changes))
    logs = follow(TokenizerTrainer(run, tmp_path / "run"), run, 7)
    # Every part of the loss took part, and the gradient was clipped at some steps.
    assert {"perceptual", "contrastive", "adversarial", "discriminator"} <= logs[-1].keys()
    assert "discriminator" not in logs[2] and "adversarial" not in logs[3]
    assert logs[5]["adversarial_weight"] > 0
    assert any(log["gradient_norm"] > OPTIMIZER.clip for log in logs)


def test_stages_of_nsvq_are_those_of_a_plain_loop(tmp_path: Path, pictures: Path) -> None:
    """joint for 2 steps, 2 of warm-up, then refinement with a weight of 0, 1/2, 1 of the full."""
    loss = replace(
        LOSS,
        perceptual=0.0,
        contrastive="none",
        discriminator_start=0.0,
        listen_after=0.0,
        ramp=0.0,
    )
    run = run_of(
        pictures,
        NSVQConfig(size=16, epoch=1, replacement_warmup=0),
        loss=loss,
        stages=StagesConfig(epoch=1, latest=0.25, warmup=2, ramp=2),
    )
    trainer = TokenizerTrainer(run, tmp_path / "run")

    def freeze(plain: PlainLoop) -> None:
        plain.average.weights |= {
            n: w.clone() for n, w in plain.weights.items() if n.startswith("encoder.")
        }

    stages: list[dict[str, Any]] = [
        {},
        {"then": freeze},
        {"frozen": True, "judged": False, "scale": 0.0},
        {"frozen": True, "judged": False, "scale": 0.0},
        {"frozen": True, "scale": 0.0},
        {"frozen": True, "scale": 0.5},
        {"frozen": True, "scale": 1.0},
        {"frozen": True, "scale": 1.0},
    ]
    before = weights_of(trainer.tokenizer.encoder)
    logs = follow(trainer, run, 8, lambda step: stages[step])
    gap, _ = largest_gap(trainer.tokenizer.encoder, before)
    assert gap > 1e-4  # it learned before it was frozen
    assert [step for step, log in enumerate(logs) if "commitment" in log] == [0, 1]
    assert [step for step, log in enumerate(logs) if "discriminator" in log] == [0, 1, 4, 5, 6, 7]
    assert [step for step, log in enumerate(logs) if "adversarial" in log] == [0, 1, 5, 6, 7]
    half, full = logs[5]["adversarial_weight"], logs[6]["adversarial_weight"]
    assert 0 < half < full


def test_only_the_decoder_learns_when_the_tokens_are_frozen(tmp_path: Path, pictures: Path) -> None:
    """The encoder and the codes stay, also those that learn without a gradient."""
    quantizer = VQConfig(size=16, codebook="ema", restart_below=0.5, decay=0.5)
    first = run_of(pictures, quantizer, steps=2)
    start = TokenizerTrainer(first, tmp_path / "first").train()
    run = replace(run_of(pictures, quantizer), init=start, train_only="decoder")
    trainer = TokenizerTrainer(run, tmp_path / "run")
    before = {n: x.clone() for n, x in trainer.tokenizer.state_dict().items()}
    for step, images in enumerate(itertools.islice(trainer._stream(0, 8), 3)):
        trainer.step(images, step)
    moved = {
        n.partition(".")[0]
        for n, x in trainer.tokenizer.state_dict().items()
        if not torch.equal(x, before[n])
    }
    assert moved == {"decoder"}

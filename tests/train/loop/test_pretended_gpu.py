"""Training steps on a pretended GPU: nothing is on the wrong device, and no step waits for a value.

A run is built on the CPU, and its weights are then replaced by pretended ones. Its loop takes the
steps, in bfloat16 as on a GPU, between two lines of the log.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from core.data.token_shards import TokenBatch
from core.networks.discriminator import DiscriminatorConfig
from core.priors import LatentConfig, LayoutConfig
from core.quantizers import LevelsConfig, NSVQConfig, RegVQConfig
from core.tokenizer import TokenizerConfig
from tests.core.networks.test_networks import keras_like
from tests.core.test_pretended_gpu import DIM, EMA, KINDS, SIZE
from tests.helpers.pretended_gpu import CUDA, on_gpu, pretended_gpu
from tests.helpers.tiny_prior_runs import PRIORS, prior_run, tokenizer_bundle
from tests.train.loop.test_tokenizer import NETWORK
from train.config.stages import StagesConfig
from train.config.tokenizer import DataConfig, FeatureConfig, LossConfig, RunConfig
from train.loop.base import TrainingRun
from train.loop.prior import PriorTrainer
from train.loop.tokenizer import TokenizerTrainer

LOG_EVERY = 2
KNOWN: dict[str, Any] = {
    "train/loop/optim.py:update_parameters": 1,
    "train/loop/stages.py:at": -1,
    "train/loop/stages.py:watch": -1,
    "core/quantizers/vq.py:forward": 1,
    "core/quantizers/vq.py:_restart": 5,
    "core/quantizers/nsvq.py:update": 5,
    "core/quantizers/diveq.py:update": 5,
    "core/quantizers/residual.py:_count": [0.9, 0.5] * 99,
    "core/priors/latent.py:forward": 1,
    "core/priors/masked.py:_loss": 3,
    "core/priors/mask_and_replace.py:_on": 0,
}
"""Reads of steps from the CPU, or from the GPU in the first step alone."""
LOG = {"train/loop/losses.py:first_bad": True, "train/loop/losses.py:values_of": 1.0}
"""Reads of a line of the log: whether all losses are finite, and the losses."""
FULL = LossConfig(
    l2=0.5, contrastive="pcl", adversarial=0.5, discriminator_start=0.0, listen_after=0.0, ramp=0.0
)
NET = replace(NETWORK, latent_dim=DIM)


def moved_to_gpu(trainer: TrainingRun) -> None:
    """Replace the weights of a run, and those that its optimizers hold, by pretended ones."""
    known: dict[int, Any] = {}
    for name, part in vars(trainer).items():
        if isinstance(part, nn.Module) and name != "stages":  # its numbers are on the CPU
            on_gpu(part, known)
    counted: Any = trainer
    counted.averaged._buffers["n_averaged"] = torch.zeros((), dtype=torch.int64)
    for optimizer in vars(trainer).values():
        if isinstance(optimizer, torch.optim.Optimizer):
            for group in optimizer.param_groups:
                group["params"] = [known[id(weight)] for weight in group["params"]]
    trainer.device, trainer.half = CUDA, True
    trainer.accelerator = SimpleNamespace(  # type: ignore[assignment]
        backward=lambda loss: loss.backward(), prepare=lambda module: module,
        num_processes=1, process_index=0, is_main_process=True,
    )  # fmt: skip


def reads_of(
    trainer: TrainingRun, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[dict[str, int]], set[str]]:
    """Take four steps in the run's loop; return the reads of each, with those of the log before
    it, and the names of the losses."""
    found: list[dict[str, int]] = []
    terms: set[str] = set()
    unused: Any = SimpleNamespace(utilization=1.0, perplexity=1.0)  # of numpy
    monkeypatch.setattr("train.loop.tokenizer.usage_of_levels", lambda counts: unused)
    monkeypatch.setattr("train.loop.tokenizer.by_level", lambda counts: {})
    monkeypatch.setattr(type(trainer), "_warning", lambda *_: None)
    monkeypatch.setattr(type(trainer), "_stream", lambda *_: (x for x in [batch] * 4))
    bar: Any = SimpleNamespace(update=lambda: None, set_postfix=lambda *_, **__: None)
    with pretended_gpu(KNOWN | LOG) as reads:
        moved_to_gpu(trainer)

        def note() -> None:
            found.append(dict(reads.counts))
            reads.counts.clear()

        stop: Any = SimpleNamespace(number=None, progress=note)
        step = trainer.step
        trainer.step = lambda *given: terms.update(made := step(*given)) or made
        trainer._steps(stop, 0, 99, bar)
    return found, terms


def check(found: list[dict[str, int]], terms: int, counts: int = 0) -> None:
    """Check that only the lines of the log read: one value, ``terms`` losses in one copy, and a
    tensor of counts."""
    logged = dict.fromkeys(LOG, 1) | {"train/loop/losses.py:values_of": terms}
    if counts:
        logged["train/loop/tokenizer.py:_figures"] = counts
    assert set(found[0]) <= set(KNOWN)
    assert [dict(step) for step in found[1:]] == [{}, logged, {}]


def run_of(tmp_path: Path, quantizer: Any, **changes: Any) -> RunConfig:
    _, npz, _ = keras_like(tmp_path)
    run = RunConfig(
        recipe="test",
        tokenizer=TokenizerConfig(NET, quantizer),
        data=DataConfig("scenes", size=32, workers=0),
        features=FeatureConfig("squeezenet", npz),
        loss=FULL,
        discriminator=DiscriminatorConfig(width=8, layers=1),
        steps=100,
        batch=2,
        save_every=100,
        log_every=LOG_EVERY,
    )
    return replace(run, **changes)


FIRST = ("vq, averages and restart", "nsvq", "gumbel", "diveq", "fsq")
"""Quantizers with rules of their own in a step; ``make test-all`` takes the others, too."""


@pytest.mark.parametrize(
    "name",
    [
        name if name in FIRST else pytest.param(name, marks=pytest.mark.long)
        for name in KINDS
        if not hasattr(KINDS[name], "base")
    ],
)
def test_a_step_of_a_tokenizer_waits_for_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every quantizer, with its rules without a gradient, and averages of the weights."""
    plain = {"features": FeatureConfig("none"), "loss": LossConfig(perceptual=0.0)}
    trainer = TokenizerTrainer(run_of(tmp_path, KINDS[name], **plain), tmp_path / "run")
    found, terms = reads_of(trainer, torch.rand(2, 3, 16, 16), monkeypatch)
    check(found, len(terms), 1)


LEVELED = {
    "tokenizer": TokenizerConfig(NET, EMA, levels=LevelsConfig(residual=2, groups=2)),
    "loss": replace(FULL, contrastive="cl"),
}


@pytest.mark.parametrize(
    ("quantizer", "changes"),
    [
        (RegVQConfig(size=SIZE), {}),
        (NSVQConfig(size=SIZE), {"stages": StagesConfig(epoch=50)}),
        (EMA, LEVELED),
    ],
    ids=["regvq", "nsvq in stages", "levels"],
)
def test_all_losses_wait_for_nothing(
    quantizer: Any, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The perceptual, contrastive and adversarial losses, the adaptive weight, and averages."""
    trainer = TokenizerTrainer(run_of(tmp_path, quantizer, **changes), tmp_path / "run")
    found, terms = reads_of(trainer, torch.rand(2, 3, 32, 32), monkeypatch)
    assert {"l1", "l2", "perceptual", "contrastive", "adversarial", "adversarial_weight",
            "discriminator", "gradient_norm"} <= terms  # fmt: skip
    check(found, len(terms), 1)


def latent_batch(rows: int = 2) -> TokenBatch:
    return TokenBatch(torch.randn(rows, 4, 4, 4), None, torch.randint(24, (rows, 4, 4)),
                      torch.zeros(rows, dtype=torch.int64))  # fmt: skip


def token_batch() -> TokenBatch:
    words = ("a lake below mountains at sunset", "a house among trees")
    return replace(latent_batch(), ids=torch.randint(24, (2, 4, 4)), captions=words)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_bundle(tmp_path_factory.mktemp("bundles") / "tiny-tokens")


LAYOUT = {"layout": replace(PRIORS["masked"], layout=LayoutConfig(16, 1, 2))}


@pytest.mark.parametrize("name", PRIORS | LAYOUT)
def test_a_step_of_a_prior_waits_for_nothing(
    name: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens come from the CPU, as from token shards; latents from the tokenizer on the GPU."""
    monkeypatch.setattr("train.loop.prior.READ", 4)
    run = prior_run("masked" if name in LAYOUT else name, bundle, steps=100, log_every=LOG_EVERY)
    run = replace(run, prior=LAYOUT.get(name, run.prior))
    trainer = PriorTrainer(run, tmp_path / "run")
    for part in trainer.prior.modules():
        if hasattr(part, "_row_of_token"):
            part._row_of_token()
    batch: Any = token_batch()
    if isinstance(run.prior, LatentConfig):
        batch = latent_batch()
    on_cpu = []

    def checked(*parts: Any, **_: Any) -> None:
        """Take the place of the checks, which look at values of the CPU."""
        tensors = [getattr(part, "segmentation", part) for part in parts]
        tensors = [x for x in tensors if isinstance(x, torch.Tensor)]
        on_cpu.append(all(x.device.type == "cpu" for x in tensors))
        assert tensors and on_cpu[-1]

    monkeypatch.setattr("core.conditions.from_samples.check_range", lambda *_: None)
    monkeypatch.setattr(trainer.prior, "check_training_batch", checked)
    found, terms = reads_of(trainer, batch, monkeypatch)
    assert "gradient_norm" in terms and on_cpu
    check(found, len(terms))

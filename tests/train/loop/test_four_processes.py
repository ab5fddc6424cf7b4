"""Four processes with a quarter of a batch each against one process with the joined batch.

They are started once and check everything: quantizers, losses, what priors measure, and a run of
the trainer on shards.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.data import Dataset, Sample, open_dataset
from tests.core import test_distributed as quantizers
from tests.core.data.shards import test_streamed
from tests.helpers import published_layouts as made
from tests.helpers.processes import gathered
from tests.helpers.web_server import serve
from tests.train.loop import test_joined_batch as losses
from tests.train.loop.test_tokenizer import config, state
from train.config.tokenizer import LossConfig, OptimizerConfig, RunConfig
from train.loop.draws import Batches
from train.loop.tokenizer import TokenizerTrainer

WORLD = 4
_fresh = test_streamed._fresh  # an empty cache, no pauses


def run(folder: Path, batch: int, accumulate: int = 1) -> RunConfig:
    """Return a run of three steps without noise, with codes that follow the latents (EMA)."""
    loss = LossConfig(
        perceptual=0, adversarial=0.5, adaptive=False, discriminator_start=0, listen_after=0,
        ramp=0,
    )  # fmt: skip
    rates = OptimizerConfig(lr=1e-4, discriminator_lr=1e-5, warmup=0.0)
    found = config(
        folder / "shards", quantizers.VQ_EMA, 3, loss=loss, optimizer=rates, batch=batch,
        precision="fp32", log_every=1, accumulate=accumulate,
    )  # fmt: skip
    data = replace(found.data, name="shards", last_size=None, size=16, workers=1)
    return replace(found, data=data)


def process(rank: int, world: int, folder: str) -> dict[str, Tensor]:
    found = under("losses", losses.results(rank, world, folder))
    found |= under("quantizers", quantizers.share_of(rank, world, folder))
    # Two pictures in two parts: gradients are exchanged after the second part alone.
    trainer = TokenizerTrainer(run(Path(folder), 8 // world, 2), Path(folder) / "several")
    assert (trainer.accelerator.num_processes, trainer.accelerator.process_index) == (world, rank)
    trainer.train()
    return found | under("tokenizer", trainer.tokenizer.state_dict())


def under(part: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}/{name}": value for name, value in found.items()}


def of(part: str, found: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    start = f"{part}/"
    return [
        {key.removeprefix(start): x for key, x in each.items() if key.startswith(start)}
        for each in found
    ]


@pytest.mark.long
def test_four_processes_equal_one_on_the_joined_batch(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    made.shards(tmp_path / "shards")
    found = gathered(process, WORLD, tmp_path)
    losses.check(of("losses", found))
    quantizers.check(of("quantizers", found))
    first, *others = of("tokenizer", found)
    assert first and all(torch.equal(first[name], x[name]) for x in others for name in first)
    TokenizerTrainer(run(tmp_path, batch=8), tmp_path / "one").train()
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("one", "several")]
    alone, together = ([json.loads(line) for line in text.splitlines()] for text in logs)
    assert len(alone) == 3
    for a, b in zip(alone, together, strict=True):
        for name in a.keys() - {"images_per_second", "held_out"}:
            assert b[name] == pytest.approx(a[name], rel=2e-3, abs=1e-6), (a["step"], name)
    one, several = state(tmp_path / "one"), state(tmp_path / "several")
    for name in first:  # Adam's first steps are signs: rounding may turn a few
        key = f"tokenizer/{name}"
        assert (one[key].float() - several[key].float()).abs().mean() < 2e-5, name
    codes = "tokenizer/quantizer.codes"
    torch.testing.assert_close(several[codes], one[codes], rtol=1e-3, atol=1e-4)


def labels(samples: list[Sample]) -> list[int]:
    return [sample.label for sample in samples]


def drawn(data: Dataset, batch: int, steps: int, workers: int) -> list[int]:
    """Return the labels of the draws of four processes, in the order of their numbers."""
    shares = []
    for rank in range(WORLD):
        stream = Batches(data, batch, 0, rank, WORLD, workers, labels)
        shares.append(list(islice(iter(stream), steps)))
    return [label for step in range(steps) for share in shares for label in share[step]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("far", [False, True], ids=["disk", "streamed"])
def test_every_picture_is_drawn_once_per_epoch(tmp_path: Path, workers: int, far: bool) -> None:
    """Four processes with workers: ten pictures in shards, two epochs, no repeats and no gaps."""
    folder = made.shards(tmp_path / "shards")
    with serve(folder) as server:
        root = f"{server.address}/train-{{000..001}}.tar" if far else str(folder)
        found = drawn(open_dataset("shards", root, size=8), 1, 5, workers)
    assert sorted(found[:10]) == sorted(found[10:]) == list(range(10))
    assert found[:10] != found[10:]
    alone = open_dataset("shards", folder, size=8)
    assert found == [alone.draw(k).label for k in range(20)]

"""Methods of a prior's run alone, with stand-ins for the rest of the run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import core.data
from core.data.token_shards import TokenBatch
from tests.helpers.recorded_calls import recorded_calls
from train.config.base import PicturesConfig
from train.loop import prior as module
from train.loop.memory import Part
from train.loop.prior import PriorTrainer


def tokens(ids: torch.Tensor) -> TokenBatch:
    rows = len(ids)
    return TokenBatch(ids, None, None, torch.zeros(rows, dtype=torch.int64))


def test_pictures_are_opened_as_the_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = recorded_calls(monkeypatch, core.data, "open_dataset")
    data = PicturesConfig(
        "scenes",
        Path("there"),
        size=48,
        crop=(0.6, 0.7),
        aspect=1.5,
        stretch=True,
        label_column="kind",
    )
    run: Any = SimpleNamespace(
        config=SimpleNamespace(data=data, seed=23), tokenizer=SimpleNamespace(channels=1)
    )
    PriorTrainer._open(run, "test")
    assert opened == [
        ("scenes", Path("there"), {
            "size": 48, "seed": 23, "split": "test", "crop": (0.6, 0.7), "aspect": 1.5,
            "stretch": True,
            "channels": 1, "columns": data.columns,
        })
    ]  # fmt: skip


@pytest.mark.parametrize("last", [False, True])
def test_losses_of_a_part_are_detached_and_its_gradient_is_its_share(last: bool) -> None:
    """Bits are a figure for the log, without a gradient; only the last part is synchronized."""
    weight = torch.tensor(2.0, requires_grad=True)
    alone: list[Any] = []
    run: Any = SimpleNamespace(
        accelerator=SimpleNamespace(
            no_sync=lambda network: alone.append(network) or nullcontext(),
            backward=lambda loss: loss.backward(),
        ),
        parallel=lambda ids, noise: {"likelihood": 3 * weight, "layout_bits": 5 * weight},
        _autocast=nullcontext,
        _inputs=lambda batch: (batch.ids,),
    )
    batch, noise = tokens(torch.zeros(4, 2, 2, dtype=torch.int64)), torch.Generator()
    losses = PriorTrainer._backward(run, batch, noise, Part(slice(1, 2), 0.25, last))
    assert {name: float(loss) for name, loss in losses.items()} == {
        "likelihood": 6,
        "layout_bits": 10,
    }
    assert not any(loss.requires_grad for loss in losses.values())
    assert float(weight.grad) == 0.75 and alone == ([] if last else [run.parallel])


@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_a_batch_is_checked_where_its_values_cost_no_wait(place: str) -> None:
    """Ids of the CPU as a whole; of those on another device, only the condition."""
    asked: list[Any] = []
    run: Any = SimpleNamespace(
        config=SimpleNamespace(prior=SimpleNamespace(conditions=())),
        device=torch.device(place),
        prior=SimpleNamespace(
            check_training_batch=lambda *given: asked.append(("all", *given)),
            conditioner=SimpleNamespace(
                check=lambda *given, **named: asked.append((*given, named)),
            ),
        ),
    )
    batch = tokens(torch.zeros(3, 2, 2, dtype=torch.int64, device=place))
    ids, condition = PriorTrainer._inputs(run, batch)
    assert ids is batch.ids and condition is None
    if place == "cpu":
        assert asked == [("all", batch.ids, None)]
    else:
        assert asked == [(None, 3, {"allow_unused": True})]


@pytest.mark.parametrize("name", ["bits", "denoising"])
def test_the_validation_loss_is_the_mean_over_pictures(name: str) -> None:
    """Batches count by their pictures, and the noise is that of the seed."""
    noises: list[int] = []

    def loss(ids: torch.Tensor, noise: torch.Generator) -> dict[str, torch.Tensor]:
        noises.append(noise.initial_seed())
        return {"likelihood" if name == "bits" else name: ids[0, 0], name: ids[0, 0]}

    network = SimpleNamespace(loss=loss)
    network.eval = lambda: network
    run: Any = SimpleNamespace(
        averaged=SimpleNamespace(module=network), device=torch.device("cpu"),
        config=SimpleNamespace(seed=41), _autocast=nullcontext, _inputs=lambda batch: (batch.ids,),
        held_out_tokens=[tokens(torch.full((3, 1), 2.0)), tokens(torch.full((1, 1), 10.0))],
    )  # fmt: skip
    assert PriorTrainer.validate(run) == (name, 4.0)
    assert noises == [41, 41]


@pytest.mark.parametrize(("name", "metric"), [("bits", "bits_per_token"), ("denoising",) * 2])
def test_a_bundle_gets_all_that_its_run_knows(
    name: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = recorded_calls(monkeypatch, module, "export_prior")
    same = dict.fromkeys(("tokenizer", "tokenizer_bundle", "config", "shards", "init_tokenizer"))
    same = {key: f"its {key}" for key in same} | {"processes": 3}
    run: Any = SimpleNamespace(
        **same, averaged=SimpleNamespace(module="averaged weights"), held_out="held out",
        held_out_tokens=["ab", "cde"], broken={"a.png": "cut off", "b.png": "empty"},
        validations=lambda: {4: {"held_out_bits": 1.5}},
    )  # fmt: skip
    PriorTrainer._export_to(run, Path("bundle"), 8, name, 1.25)
    assert exported == [
        (Path("bundle"), {
            **same, "prior": "averaged weights", "data": "held out",
            "metrics": {"step": 8, metric: 1.25, "held_out": 5}, "broken": 2,
            "validations": {4: {"held_out_bits": 1.5}},
        })
    ]  # fmt: skip

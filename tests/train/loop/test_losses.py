"""The losses of steps, looked at together on a GPU."""

from __future__ import annotations

import math

import torch

from tests.helpers.host_reads import HostReads
from train.loop.losses import BadLoss, LossRecord, values_of


def test_the_first_bad_loss_of_several_steps_is_found() -> None:
    record = LossRecord()
    assert record.first_bad() is None
    record.add(3, ("l1", "gan"), torch.tensor([1.0, 2.0]))
    record.add(4, ("l1",), torch.tensor([1.0]))
    assert record.first_bad() is None
    record.add(5, ("l1", "gan"), torch.tensor([1.0, 2.0]))
    record.add(6, ("l1", "gan"), torch.tensor([1.0, math.inf]))
    record.add(7, ("l1", "gan"), torch.tensor([math.nan, 2.0]))
    assert record.first_bad() == BadLoss("gan", 6)
    assert record.first_bad() is None  # of the steps since


def test_finite_losses_cost_one_read_for_all_steps() -> None:
    record = LossRecord()
    for step in range(9):
        record.add(step, ("l1", "gan"), torch.ones(2))
    with HostReads("cpu") as reads:
        assert record.first_bad() is None
    assert reads.counts == {"train/loop/losses.py:first_bad": 1}


def test_values_are_those_of_the_losses() -> None:
    losses = {"a": torch.tensor(0.5), "b": torch.tensor(2.0, dtype=torch.bfloat16)}
    assert values_of(losses) == {"a": 0.5, "b": 2.0}
    assert values_of({}) == {}

"""The counter of reads, and the pretended GPU: they notice what they are to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from core.quantizers import RegVQConfig
from tests.helpers.host_reads import HostReads
from tests.helpers.pretended_backward import run_backward
from tests.helpers.pretended_gpu import CUDA, on_gpu, pretended_gpu

HERE = "tests/core/test_host_reads.py:do"
READS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum()),
    "int": lambda x: int(x[0, 0]),
    "tolist": lambda x: x[0, :1].tolist(),
    "equal": lambda x: torch.equal(x, x),
    "cpu": lambda x: x.cpu(),
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "to": lambda x: torch.ones(2).to(x.device),
    "set one value": lambda x: x[0, 0].copy_(torch.tensor(1.0)),
}
SIZES: dict[str, Callable[[Tensor], Any]] = {
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "bincount": lambda x: torch.bincount(x.long().flatten()),
    "unique": lambda x: torch.unique(x),
}
QUIET: dict[str, Callable[[Tensor], Any]] = {
    "sum": lambda x: (x * 2 + 1).sum(),
    "fill a mask": lambda x: x.masked_fill_(x > 0, 0),
    "set a mask": lambda x: x.__setitem__(x > 0, 0.0),
    "index": lambda x: x[torch.arange(2, device=x.device)],
    "made there": lambda x: torch.full((2,), 1.0, device=x.device),
    "to, not blocking": lambda x: torch.ones(2).to(x.device, non_blocking=True),
    "of the CPU": lambda x: torch.ones(2).cpu(),
}


def do(what: Callable[[Tensor], Any], x: Tensor) -> None:
    what(x)


@pytest.mark.parametrize("name", READS)
def test_a_read_or_a_copy_that_waits_is_counted(name: str) -> None:
    with pretended_gpu({HERE: 1}) as reads:
        do(READS[name], torch.ones(2, 3, device=CUDA))
    assert reads.counts == {HERE: 1}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_depends_on_values_is_an_error(name: str) -> None:
    with pretended_gpu() as reads:
        x = torch.ones(2, 3, device=CUDA)
        with pytest.raises(AssertionError, match="has a size that depends on values"):
            do(SIZES[name], x)
    assert reads.counts == {HERE: 1}


@pytest.mark.parametrize("name", QUIET)
def test_what_does_not_wait_is_not_counted(name: str) -> None:
    with pretended_gpu() as reads:
        do(QUIET[name], torch.ones(2, 3, device=CUDA))
    assert not reads.counts


def test_a_read_without_an_answer_names_its_place() -> None:
    with pretended_gpu(), pytest.raises(AssertionError, match=HERE + " reads a value"):
        do(READS["item"], torch.ones(2, device=CUDA))


def test_two_devices_do_not_meet() -> None:
    with pretended_gpu():
        x, here = torch.ones(3, device=CUDA), torch.ones(3)
        with pytest.raises(RuntimeError, match="same device"):
            x + here
        with pytest.raises(AssertionError, match="with a generator of cpu"):
            torch.rand(3, device=CUDA, generator=torch.Generator())


def test_reads_of_the_cpu_are_counted_where_values_are_real() -> None:
    x = torch.tensor([1.0, -1.0])
    with HostReads("cpu") as reads:
        assert float(x.sum()) == 0 and len(x[x > 0]) == 1
    assert sum(reads.counts.values()) == 2


def test_the_pretended_backward_pass_is_that_of_the_engine() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 1))
    quantizer = RegVQConfig(size=16).build(8)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    leaves = [x, *net.parameters(), *quantizer.parameters()]

    def gradients() -> list[Tensor]:
        for leaf in leaves:
            leaf.grad = None
        out = quantizer(net(x), generator=torch.Generator().manual_seed(0))
        (wanted,) = torch.autograd.grad(out.z.square().sum(), net[3].weight, retain_graph=True)
        (out.z.square().sum() + sum(out.losses.values())).backward()
        return [wanted, *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    by_engine = gradients()
    with patch("torch.autograd._engine_run_backward", run_backward):
        by_hand = gradients()
    assert len(by_hand) == len(by_engine) == len(leaves) + 1
    for a, b in zip(by_engine, by_hand, strict=True):
        torch.testing.assert_close(a, b)


def test_a_gradient_on_the_wrong_device_is_an_error() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            return torch.ones(grads[0].shape)

    with pretended_gpu():
        layer = on_gpu(nn.Linear(3, 3))
        with pytest.raises(AssertionError, match="its gradient on cpu"):
            Wrong.apply(layer(torch.ones(1, 3, device=CUDA))).sum().backward()

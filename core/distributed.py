"""Pooling over processes: the identity in one process, a collective in several."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together (1 without ``torch.distributed``)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum of ``x`` over all processes, detached from the graph. ``x`` is left as it was."""
    total = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def mean_over_processes(x: Tensor) -> Tensor:
    """Mean of ``x`` over all processes, differentiable towards the local ``x``.

    The value is the global mean and the gradient is that of the local ``x``: averaged over
    processes, as DistributedDataParallel averages parameter gradients, it is the gradient of the
    function of the global mean, exactly.
    """
    if world_size() == 1:
        return x
    return x + (sum_over_processes(x) / world_size() - x.detach())


def gather_rows(x: Tensor) -> Tensor:
    """Rows (N, D) of every process as (W*N, D), in rank order, detached. N must be the same on
    all."""
    x = x.detach().contiguous()
    if world_size() == 1:
        return x
    rows = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(rows, x)
    return torch.cat(rows)


def copy_of_first(x: Tensor) -> Tensor:
    """The first process's ``x`` on all: for what each would compute alike but for rounding."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.broadcast(x, 0)
    return x

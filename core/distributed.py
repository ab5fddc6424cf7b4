"""Sums, means and copies over the processes that train together.

Each function is a collective (all processes must call it), and the identity in a single process.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of processes that train together: 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of ``x`` over all processes, detached; ``x`` itself does not change."""
    total = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def mean_over_processes(x: Tensor) -> Tensor:
    """Return the mean of ``x`` over all processes, differentiable with respect to the local ``x``.

    The value is the global mean, the gradient that of the local ``x``. Averaged over processes, as
    DistributedDataParallel averages parameter gradients, this gradient is exactly that of the
    function of the global mean.
    """
    if world_size() == 1:
        return x
    return x + (sum_over_processes(x) / world_size() - x.detach())


def mean_over_rows(x: Tensor, count: int) -> Tensor:
    """Return the mean over the rows of all processes, differentiable as ``mean_over_processes``.

    ``x`` is the mean over the ``count`` rows of this process; processes may have different numbers
    of them, as signals with padding do.
    """
    if world_size() == 1:
        return x
    packed = sum_over_processes(torch.cat([x.flatten() * count, x.new_tensor([count])]))
    total = packed[-1]
    own = x * (count * world_size() / total)
    return own + (packed[:-1].view_as(x) / total - own.detach())


def max_over_processes(value: int, device: torch.device | str = "cpu") -> int:
    """Return the largest ``value`` of all processes. ``device``: one that the backend can use."""
    if world_size() == 1:
        return value
    largest = torch.tensor(value, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows (N, D) of all processes as (sum of N, D), in rank order, detached.

    N may differ between processes.
    """
    x = x.detach().contiguous()
    if world_size() == 1:
        return x
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(world_size())]
    dist.all_gather(counts, counts[0].new_tensor([len(x)]))
    longest = int(max(counts))
    padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])
    rows = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(rows, padded)
    return torch.cat([part[: int(count)] for part, count in zip(rows, counts, strict=True)])


def copy_of_first(x: Tensor) -> Tensor:
    """Return the ``x`` of the first process, detached.

    It makes values equal that every process computes alike except for rounding.
    """
    x = x.detach().clone()
    if world_size() > 1:
        dist.broadcast(x, 0)
    return x

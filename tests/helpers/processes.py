"""Several processes of one run on this machine, connected by gloo."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

Found = dict[str, Tensor]
Work = Callable[[int, int, str], Found]
"""A function of (rank, world, folder) that each process calls; of a module, so that it is found."""


def gathered(work: Work, world: int, folder: Path) -> list[Found]:
    """Return the results of ``work`` in ``world`` processes, by rank. ``folder`` is for files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_process, args=(world, port, str(folder), work), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def mean(value: Tensor, world: int) -> Tensor:
    """Return the mean over processes, as DistributedDataParallel computes for gradients."""
    value = value.clone()
    if world > 1:
        dist.all_reduce(value)
        value /= world
    return value


def _process(rank: int, world: int, port: int, folder: str, work: Work) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    torch.save(work(rank, world, folder), Path(folder) / f"{rank}.pt")
    dist.barrier()  # the store of the first process must outlive the work of the others
    dist.destroy_process_group()

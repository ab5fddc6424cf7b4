"""Decoding on a GPU: every step the same kernels on the same memory, replayed as a CUDA graph.

On a GPU a step's kernels are done sooner than Python can start them. A graph starts them all at
once, but knows neither another shape nor another address. So here the position is a number in the
GPU's memory, and all of the cache is attended to, under a mask.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .incremental import IncrementalDecoder
from .transformer import Cache, Transformer

_WARM = 3  # steps before a capture, in which libraries take the memory that they want


class GraphDecoder(IncrementalDecoder):
    """An ``IncrementalDecoder`` all of whose steps are alike.

    Its position is ``position``, int64 (1,)."""

    def __init__(
        self, transformer: Transformer, cache: Cache, table: Tensor, rows: int, **told: object
    ) -> None:
        super().__init__(transformer, cache, table, rows, **told)
        self.position = torch.tensor([cache.begin], device=table.device)
        self.places = torch.arange(table.shape[1], device=table.device)
        for store in cache.stores:
            store[:, :, :, cache.begin :] = 0  # masked, but what is not finite would show

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """As ``IncrementalDecoder``; ``cache.begin`` is left as it is."""
        seen = (self.places <= self.position)[None, None, None]

        def attend(turned: Tensor, store: Tensor) -> Tensor:
            store.index_copy_(3, self.position, turned[:, 1:].transpose(0, 1).unsqueeze(3))
            q = turned[:, 0].unsqueeze(2)
            mixed = F.scaled_dot_product_attention(q, *store, attn_mask=seen, scale=1.0)
            return mixed.reshape(len(x), -1)

        x = self._through(x, self.turns.index_select(1, self.position)[:, 0], attend)
        self.position.add_(1)
        return x


def capture_graph(
    step: Callable[[Tensor], Tensor], example: Tensor, position: Tensor
) -> Callable[[Tensor], Tensor]:
    """``step``, a function of a tensor like ``example`` that moves ``position`` on, as a CUDA graph
    where that can be had; else as it is. What it returns is overwritten by the next call."""
    if example.device.type != "cuda":
        return step
    begin, given = position.clone(), example.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM):
            position.copy_(begin)
            step(given)
    torch.cuda.current_stream().wait_stream(stream)
    position.copy_(begin)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            found = step(given)
    except RuntimeError:  # an operation of this build that cannot be captured
        position.copy_(begin)
        return step

    def replay(new: Tensor) -> Tensor:
        given.copy_(new)
        graph.replay()
        return found

    return replay

"""Incremental decoding on a GPU, replayed as a CUDA graph.

On a GPU the kernels of a step finish sooner than Python can launch them. A CUDA graph launches all
of them at once, but its shapes and addresses are fixed. Therefore the position is a number in the
GPU's memory here, and each step attends to the whole cache under a mask.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..plain import is_plain
from .incremental import IncrementalDecoder
from .transformer import Cache, Memory, Modulation, Transformer

_WARMUP_STEPS = 3  # before a capture, so that libraries allocate their memory


class GraphDecoder(IncrementalDecoder):
    """An ``IncrementalDecoder`` whose steps all run the same kernels on the same memory.

    Its position is the tensor ``position``, int64 (1,); it does not change ``cache.length``.
    """

    def __init__(
        self,
        transformer: Transformer,
        cache: Cache,
        table: Tensor,
        rows: int,
        *,
        modulation: Modulation | None = None,
        memory: Memory | None = None,
        memory_mask: Tensor | None = None,
    ) -> None:
        super().__init__(
            transformer,
            cache,
            table,
            rows,
            modulation=modulation,
            memory=memory,
            memory_mask=memory_mask,
        )
        self.position = torch.full((1,), cache.length, device=table.device)
        self.positions = torch.arange(table.shape[1], device=table.device)
        for store in cache.stores:
            store[:, :, :, cache.length :] = 0  # masked, but a value that is not finite would show

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the features (B, C) of the next position, whose embedding is ``x`` (B, C)."""
        mask = (self.positions <= self.position)[None, None, None]

        def attend(rotated: Tensor, store: Tensor) -> Tensor:
            store.index_copy_(3, self.position, rotated[:, 1:].transpose(0, 1).unsqueeze(3))
            q = rotated[:, 0].unsqueeze(2)
            keys, values = store
            mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=1.0)
            return mixed.reshape(len(x), -1)

        x = self._through(x, self.rotations.index_select(1, self.position)[:, 0], attend)
        self.position.add_(1)
        return x


def capture_graph(
    step: Callable[[Tensor], Tensor], example: Tensor, position: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return ``step`` as a CUDA graph if that is possible, else ``step`` itself.

    ``step`` is a function of a tensor like ``example`` that increases ``position``. Each call of
    the graph overwrites the result of the call before.
    """
    if example.device.type != "cuda" or is_plain():
        return step
    start, given = position.clone(), example.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARMUP_STEPS):
            position.copy_(start)
            step(given)
    torch.cuda.current_stream().wait_stream(stream)
    position.copy_(start)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            result = step(given)
    except RuntimeError:  # an operation of this build that cannot be captured
        position.copy_(start)
        return step

    def replay(x: Tensor) -> Tensor:
        given.copy_(x)
        graph.replay()
        return result

    # The graph reads the tensors of ``step`` by their addresses, so they must stay allocated.
    replay.step = step
    return replay

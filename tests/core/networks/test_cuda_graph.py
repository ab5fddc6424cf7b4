"""The replay of a step as a CUDA graph, with a stand-in for CUDA: what must stay in memory."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import torch

from core.networks.cuda_graph import capture_graph


class Example(SimpleNamespace):
    """A tensor that claims to be on a GPU."""

    def clone(self) -> torch.Tensor:
        return torch.zeros(2)


class Step:
    """A step with a tensor of its own, which a graph would read by its address."""

    def __init__(self) -> None:
        self.weight = torch.ones(2)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight


def test_a_captured_step_keeps_its_tensors(monkeypatch):
    """A graph holds addresses, not tensors: if those are freed, it reads other data (seen as NaN on
    an H100)."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    replays = []
    graph = SimpleNamespace(replay=lambda: replays.append(1))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", nullcontext)
    step = Step()
    weight = weakref.ref(step.weight)
    position = torch.tensor([3])
    replay = capture_graph(step, Example(device=torch.device("cuda")), position)
    del step
    gc.collect()
    assert replay(torch.ones(2)).tolist() == [1.0, 1.0] and replays == [1]
    assert position.tolist() == [3]
    assert weight() is not None
    del replay
    gc.collect()
    assert weight() is None

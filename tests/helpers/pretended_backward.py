"""Backward passes without torch's engine, which asks the driver of every GPU for its streams.

``run_backward`` calls the nodes of the graph itself. It takes the place of the engine for tensors
on a GPU that is only pretended (``pretended_gpu``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge


def run_backward(
    outputs: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    keep_graph: bool = False,
    create_graph: bool = False,
    inputs: Sequence[Any] = (),
    allow_unreachable: bool = True,
    accumulate_grad: bool = True,
) -> tuple[Tensor | None, ...]:
    """Compute gradients as ``torch.autograd.backward`` and ``grad`` do; the engine's arguments.

    Each gradient is checked against shape, type and device of what it belongs to. Hooks and
    gradients of gradients are not supported.
    """
    assert not create_graph, "gradients of gradients are not pretended"
    edges = [get_gradient_edge(x) for x in outputs]
    wanted = {(edge.node, edge.output_nr): None for edge in map(get_gradient_edge, inputs)}
    waiting = _dependencies([edge.node for edge in edges])
    given: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    with torch.no_grad():
        for edge, output, grad in zip(edges, outputs, grads, strict=True):
            first = torch.ones_like(output) if grad is None else grad
            _add(given[edge.node], edge.node, edge.output_nr, first)
        ready = [node for node in dict.fromkeys(e.node for e in edges) if not waiting[node]]
        while ready:
            node = ready.pop()
            found = given.pop(node, {})
            for number, grad in found.items():
                if (node, number) in wanted:
                    wanted[node, number] = grad
            for grad, (below, number) in zip(_through(node, found, accumulate_grad and not inputs),
                                             node.next_functions, strict=False):  # fmt: skip
                if below is None:
                    continue
                if grad is not None:
                    _add(given[below], below, number, grad)
                waiting[below] -= 1
                if not waiting[below]:
                    ready.append(below)
    return tuple(wanted.values())


def _dependencies(roots: Sequence[Any]) -> dict[Any, int]:
    """Return how many edges lead to each node below the roots."""
    counts: dict[Any, int] = dict.fromkeys(roots, 0)
    seen, open_ = set(roots), list(dict.fromkeys(roots))
    while open_:
        for below, _ in open_.pop().next_functions:
            if below is None:
                continue
            counts[below] = counts.get(below, 0) + 1
            if below not in seen:
                seen.add(below)
                open_.append(below)
    return counts


def _through(node: Any, found: dict[int, Tensor], accumulate: bool) -> Sequence[Tensor | None]:
    """Return the gradients that a node passes on, from those at its outputs."""
    if hasattr(node, "variable"):  # the end of the graph: a weight or a leaf
        grad, weight = found.get(0), node.variable
        if accumulate and grad is not None:
            weight.grad = grad if weight.grad is None else weight.grad + grad
        return ()
    if not found:
        return [None] * len(node.next_functions)
    grads = [found.get(number) for number in range(len(node._input_metadata))]
    made = node.apply(*grads) if hasattr(node, "apply") else node(*grads)
    return made if isinstance(made, tuple) else (made,)


def _add(place: dict[int, Tensor], node: Any, number: int, grad: Tensor) -> None:
    """Add a gradient to those of an output of ``node``, in its shape and type."""
    meta = node._input_metadata[number]
    assert grad.device == meta.device, f"{node} is on {meta.device}, its gradient on {grad.device}"
    if grad.shape != meta.shape:
        grad = grad.sum_to_size(meta.shape)
    grad = grad.to(meta.dtype)
    place[number] = place[number] + grad if number in place else grad

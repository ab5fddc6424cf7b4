"""Steps in parts, recomputed blocks and compiled networks: the same step in less memory or time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from regvq.networks.checkpointing import set_checkpointing
from regvq.networks.transformer import Transformer

from ..cli.errors import UsageError
from ..config.base import CommonConfig


class Part(NamedTuple):
    """A part of a process's batch: its rows, its share of the batch, and True for the last one."""

    rows: slice
    share: float
    last: bool

    def unsynchronized(
        self, accelerator: Accelerator, module: nn.Module
    ) -> AbstractContextManager[object]:
        """Return the context of this part's forward and backward pass: processes exchange the
        gradient once per step, in the last part."""
        return nullcontext() if self.last else accelerator.no_sync(module)


def parts_of(count: int, parts: int) -> Iterator[Part]:
    """Yield the parts of a batch of ``count`` rows: at most ``parts``, as equal as possible."""
    parts = min(parts, count)
    for number in range(parts):
        first, end = number * count // parts, (number + 1) * count // parts
        yield Part(slice(first, end), (end - first) / count, number == parts - 1)


def mean_of(terms: Sequence[tuple[float, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """Return the means of the parts' losses, each with the share of its part.

    A batch of one part keeps its values bit for bit.
    """
    if len(terms) == 1:
        return dict(terms[0][1])
    return {name: sum(share * losses[name] for share, losses in terms) for name in terms[0][1]}


def prepare_networks(config: CommonConfig, *networks: nn.Module | None) -> None:
    """Turn on checkpointing and compilation of networks, as the config asks; None is left out.

    Compiled are encoders whole, and of decoders the parts before the last layer, on which the
    adaptive weight takes gradients of its own; of priors the transformers or the U-Net. Quantizers
    are not: their settings follow the step, and each value would be compiled anew. Raises
    UsageError if nothing can be compiled here.
    """
    found = [network for network in networks if network is not None]
    if config.checkpointing:
        for network in found:
            set_checkpointing(network)
    if config.compile:
        _check_compiler()
        for network in found:
            for part in _compiled_parts(network):
                part.compile()


def _compiled_parts(network: nn.Module) -> list[nn.Module]:
    """Return the outermost modules of a network that are compiled as one graph each."""
    if hasattr(network, "last_weight"):  # a decoder
        children: list[nn.Module] = []
        for child in network.children():
            children += child.children() if isinstance(child, nn.ModuleList) else [child]
        return [child for child in children if any(True for _ in child.children())]
    inside = [
        each
        for each in network.modules()
        if isinstance(each, Transformer) or type(each).__name__ == "UNet2DModel"
    ]
    return inside or [network]


def _check_compiler() -> None:
    if torch.cuda.is_available():
        return
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        get_cpp_compiler()
    except Exception as error:
        raise UsageError(
            f"--compile needs a C++ compiler ({type(error).__name__}): install g++, or leave the "
            "flag out."
        ) from None

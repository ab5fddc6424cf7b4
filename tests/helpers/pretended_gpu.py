"""A GPU that is only pretended: tensors with shape, type and device "cuda", but without values.

torch's ``FakeTensorMode`` computes shapes, types and devices of every operation and raises an error
where tensors of two devices meet. What it does not know on a machine without CUDA is replaced
here: generators, the device guard, the question for a capture, and autocast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from .host_reads import HostReads
from .pretended_backward import run_backward

CUDA = torch.device("cuda", 0)
if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9):
    pytest.skip("uses internals of torch that older versions lack", allow_module_level=True)


class PretendedGenerator(torch._C.Generator):
    """A generator that says that it is on the GPU; its state is that of one on the CPU."""

    def __new__(cls, device: Any = "cpu") -> Any:
        made = super().__new__(cls)
        made.place = CUDA if torch.device(device).type == "cuda" else torch.device("cpu")
        made.drawn = 0
        return made

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__()

    @property
    def device(self) -> torch.device:
        return self.place

    def get_offset(self) -> int:
        return self.drawn

    def set_offset(self, offset: int) -> PretendedGenerator:
        assert offset % 4 == 0, "CUDA takes only multiples of 4"
        self.drawn = offset
        return self


class _Generators(TorchFunctionMode):
    """Raises an error where a generator draws a tensor of another device, as CUDA does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        generator = (kwargs or {}).get("generator")
        if generator is not None and isinstance(made, Tensor):
            assert made.device.type == generator.device.type, (
                f"{func.__name__} draws on {made.device} with a generator of {generator.device}"
            )
        return made


@contextmanager
def pretended_gpu(answers: Mapping[str, Any] | None = None) -> Iterator[HostReads]:
    """Make torch compute without values; yield the count of reads from the device "cuda".

    ``answers``: see ``HostReads``; without an entry there, a read raises AssertionError.
    """
    reads = HostReads("cuda", answers or {})
    with ExitStack() as stack:
        for name, value in (
            ("torch.Generator", PretendedGenerator),
            ("torch.cuda.device_of", lambda tensor: nullcontext()),
            ("torch.cuda.is_current_stream_capturing", lambda: False),
            ("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            ("torch.cuda.is_bf16_supported", lambda *_: True),
            ("torch.autograd._engine_run_backward", run_backward),
            ("core.quantizers.tiled.lookup._kernel", lambda: None),
            ("core.priors.network.capture_graph", lambda step, example, position: step),
        ):
            stack.enter_context(patch(name, value))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_Generators())
        stack.enter_context(reads)
        yield reads


def on_gpu(module: nn.Module, known: dict[int, Tensor] | None = None) -> nn.Module:
    """Replace the weights of a module by pretended ones on the GPU; return the module.

    ``known``: the replacements by the ``id`` of what they replace, for weights that others hold.
    """
    known = {} if known is None else known
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    table[name] = moved(tensor, known)
    return module


def moved(tensor: Tensor, known: dict[int, Tensor] | None = None) -> Tensor:
    """Return a pretended tensor on the GPU of the shape, type and layout of a tensor."""
    known = {} if known is None else known
    if id(tensor) not in known:
        made: Any = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=CUDA
        )
        assert isinstance(made, FakeTensor)
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, tensor.requires_grad)
        known[id(tensor)] = made
        known[-id(tensor)] = tensor  # keeps the id from being used again
    return known[id(tensor)]

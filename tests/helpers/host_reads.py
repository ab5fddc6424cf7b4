"""Counting what makes the host wait for the device: values that are read, and copies that block.

A GPU works behind the host, which only launches its kernels. If the host reads a value
(``.item()``, ``bool(x)``, ``.tolist()``, ``.cpu()``), or asks for a result whose size depends on
values (``nonzero``, a boolean index, ``bincount``), it waits until everything launched so far is
done, and the GPU then waits for the next launch. A copy to the GPU without ``non_blocking`` waits
likewise.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.paths import ROOT

aten = torch.ops.aten
PRODUCT = tuple(str(ROOT / folder) + "/" for folder in ("core", "train", "app"))
HELPERS = tuple(
    str(Path(__file__).with_name(name)) for name in ("host_reads.py", "pretended_gpu.py")
)
TESTS = str(ROOT / "tests") + "/"
ON_BEHALF = str(ROOT / "core" / "host_values.py")
"""Functions there read for their callers, who are named."""
SIZED_BY_VALUES = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
}
"""Operations whose result has a size that the device must tell the host."""
VALUES = {aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default}
"""Operations that return a value to the host."""


class HostReads(TorchDispatchMode):
    """Counts the reads from devices of one type in ``counts``, by the function that reads.

    A function's name is that of the nearest one of the product, such as
    ``train/loop/base.py:_check``. ``answers``, by the same names, are the values that it gets for
    reads of tensors without values (``FakeTensor``); a list is used up value by value. A read
    without an answer raises ``AssertionError`` if there are ``answers`` at all.
    """

    def __init__(self, device: str = "cuda", answers: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.device, self.answers = device, answers
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in VALUES or func in SIZED_BY_VALUES or _masked_index(func, args):
            here = any(x.device.type == self.device for x in _tensors(args))
            if here:
                self._count()
            if func in VALUES and self.answers is not None:
                return self._answer()
            if here and self.answers is not None:
                raise AssertionError(f"{func} in {reader()} has a size that depends on values")
        elif self._waits(func, args, kwargs):
            self._count()
        return func(*args, **kwargs)

    def _count(self) -> None:
        self.counts[reader()] += 1

    def _answer(self) -> Any:
        assert self.answers is not None
        name = reader()
        if name not in self.answers:
            raise AssertionError(f"{name} reads a value, line {reader(line=True)}")
        answer = self.answers[name]
        return answer.pop(0) if isinstance(answer, list) else answer

    def _waits(self, func: Any, args: Any, kwargs: Any) -> bool:
        """Return True for a copy from the device to the host, or one back that blocks."""
        if func is aten._to_copy.default:
            source, target = args[0].device, kwargs.get("device") or args[0].device
            blocking = not kwargs.get("non_blocking", False)
        elif func is aten.copy_.default:
            source, target = args[1].device, args[0].device
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        else:
            return False
        source, target = source.type, torch.device(target).type
        if source == target or self.device not in (source, target):
            return False
        return source == self.device or blocking


def _masked_index(func: Any, args: Any) -> bool:
    if func not in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        return False
    masks = [x for x in args[1] if isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8)]
    # A single value at the places of a mask is written without their number.
    return bool(masks) and (func is aten.index.Tensor or args[2].numel() > 1)


def _tensors(args: Any) -> list[Tensor]:
    found = []
    for value in args:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


def reader(line: bool = False) -> str:
    """Return the nearest function of the product, or of the test, on the stack.

    A comprehension or a lambda has the name of the function around it.
    """
    frame, nearest = sys._getframe(1), ""
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if not function.startswith("<"):
            if file.startswith(PRODUCT) and file != ON_BEHALF:
                name = f"{Path(file).relative_to(ROOT)}:{function}"
                return f"{name} (line {frame.f_lineno})" if line else name
            if not nearest and file.startswith(TESTS) and file not in HELPERS:
                nearest = f"{Path(file).relative_to(ROOT)}:{function}"
        frame = frame.f_back
    return nearest or "elsewhere"

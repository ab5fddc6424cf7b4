"""Values that the host needs, without waiting for a GPU.

A GPU works behind the host, which only launches its kernels. Where the host reads a value, or needs
a result whose size depends on values, it waits until all that it has launched is done, and the GPU
then waits for the next launch.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class HostCopy:
    """The value of a tensor of one number, read again only where the tensor has changed.

    It is meant for buffers of a module: a flag that is set once, or a count of steps. In-place
    changes by torch (``copy_``, ``add_``, loading a state) are noticed, and so is another tensor in
    its place.
    """

    def __init__(self) -> None:
        self._tensor: Tensor | None = None
        self._version, self._value = -1, 0.0

    def __call__(self, tensor: Tensor) -> float:
        """Return the value of ``tensor``, with one number."""
        if tensor.is_inference():  # torch does not count its changes
            return float(tensor)
        if tensor is not self._tensor or tensor._version != self._version:
            self._note(tensor, float(tensor))
        return self._value

    def raised(self, tensor: Tensor) -> int:
        """Add one to ``tensor``, an integer of one number, and return the result."""
        value = int(self(tensor)) + 1
        tensor += 1
        if not tensor.is_inference():
            self._note(tensor, value)
        return value

    def _note(self, tensor: Tensor, value: float) -> None:
        self._tensor, self._version, self._value = tensor, tensor._version, value

    def __deepcopy__(self, memo: object) -> HostCopy:
        return HostCopy()  # the copied tensor is another one


def count_values(values: Tensor, size: int) -> Tensor:
    """Return how often each integer from 0 to ``size`` - 1 occurs in ``values``, int64 (size,).

    -1 is not counted; other numbers must not occur. ``torch.bincount`` is several times as fast on
    a CPU, but looks for the largest number first, for which the host would wait on a GPU.
    """
    shifted = values.reshape(-1).long() + 1
    if not values.is_cuda and not torch.compiler.is_compiling():
        counts = torch.bincount(shifted, minlength=size + 1)
        if len(counts) > size + 1:
            raise IndexError(f"values must be from -1 to {size - 1}, got {len(counts) - 2}")
        return counts[1:]
    counts = torch.zeros(size + 1, dtype=torch.int64, device=values.device)
    return counts.scatter_add_(0, shifted, torch.ones_like(shifted))[1:]


def split_places(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the places of a bool ``mask`` (N,) that are true, of which there are ``count``, and
    those that are false; both ascending, int64.

    Unlike ``nonzero``, it does not make the host wait for the count.
    """
    order = mask.to(torch.uint8).argsort(stable=True)
    rest = len(mask) - count
    return order[rest:], order[:rest]


def host_seed(generator: torch.Generator | None) -> int:
    """Draw a seed, from 0 to 2^62 - 1, from a generator; None is torch's generator of the CPU.

    A number that a GPU draws would have to be read. The state of its generator is known to the
    host: a seed, and the number of draws so far, which is raised here. The result hashes both.
    """
    if generator is None or generator.device.type != "cuda":
        place = None if generator is None else generator.device
        return int(torch.randint(2**62, (), generator=generator, device=place))
    drawn = generator.get_offset()
    generator.set_offset(drawn + 4)  # a GPU's generator draws four numbers at a time
    text = f"{generator.initial_seed()} {drawn}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 2


def host_generator(generator: torch.Generator | None) -> torch.Generator | None:
    """Return a generator of the CPU: ``generator`` itself, if it is one or None, and otherwise one
    with a seed that it draws."""
    if generator is None or generator.device.type == "cpu":
        return generator
    return torch.Generator().manual_seed(host_seed(generator))

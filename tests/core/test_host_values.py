"""Values that the host knows without waiting for a device."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from core.host_values import HostCopy, count_values, host_generator, host_seed, split_places
from tests.helpers.host_reads import HostReads
from tests.helpers.pretended_gpu import CUDA, pretended_gpu


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.known = HostCopy()


def test_a_value_is_read_once_and_again_after_each_change() -> None:
    module = Counting()
    with HostReads("cpu") as reads:
        assert [module.known(module.count) for _ in range(3)] == [0, 0, 0]
        assert sum(reads.counts.values()) == 1
        assert [module.known.raised(module.count) for _ in range(4)] == [1, 2, 3, 4]
        assert sum(reads.counts.values()) == 1
        module.load_state_dict({"count": torch.tensor(9)})
        assert module.known.raised(module.count) == 10
        module.count.fill_(3)
        assert module.known(module.count) == 3
        assert sum(reads.counts.values()) == 3
    assert int(module.count) == 3


def test_a_copied_module_reads_its_own_value() -> None:
    module = Counting()
    module.known.raised(module.count)
    other = copy.deepcopy(module)
    assert other.known.raised(other.count) == 2
    assert module.known(module.count) == 1 and int(module.count) == 1


def test_a_tensor_of_inference_mode_is_read_each_time() -> None:
    known = HostCopy()
    with torch.inference_mode():
        count = torch.zeros((), dtype=torch.int64)
        assert [known.raised(count), known.raised(count), known(count)] == [1, 2, 2]
        count.fill_(7)
        assert known(count) == 7


@pytest.mark.parametrize("shape", [(0,), (1,), (7, 5), (2, 3, 4)])
def test_counts_are_those_of_bincount(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = torch.randint(-1, 6, shape)
    wanted = torch.bincount(values[values >= 0], minlength=6)
    assert torch.equal(count_values(values, 6), wanted)
    assert count_values(values.int(), 6).dtype == torch.int64
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # the way of a GPU
    assert torch.equal(count_values(values, 6), wanted)


def test_counts_refuse_a_value_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IndexError, match="values must be from -1 to 5, got 6"):
        count_values(torch.tensor([0, 6]), 6)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with pytest.raises(RuntimeError, match="out of bounds"):
        count_values(torch.tensor([0, 6]), 6)


@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_places_are_those_of_nonzero(count: int) -> None:
    mask = torch.zeros(9, dtype=torch.bool)
    mask[torch.randperm(9)[:count]] = True
    places, rest = split_places(mask, count)
    assert torch.equal(places, mask.nonzero().flatten())
    assert torch.equal(rest, (~mask).nonzero().flatten())


def test_a_seed_of_the_cpu_is_a_draw_of_its_generator() -> None:
    draw, again = (torch.Generator().manual_seed(3) for _ in range(2))
    wanted = [int(torch.randint(2**62, (), generator=again)) for _ in range(2)]
    assert [host_seed(draw), host_seed(draw)] == wanted
    assert host_generator(draw) is draw and host_generator(None) is None


def test_a_seed_of_a_gpu_follows_from_its_state_and_is_not_read() -> None:
    with pretended_gpu() as reads:

        def seeds(seed: int) -> list[int]:
            draw = torch.Generator(CUDA).manual_seed(seed)
            return [host_seed(draw) for _ in range(3)]

        assert seeds(5) == seeds(5)
        assert len({*seeds(5), *seeds(6)}) == 6
        assert all(0 <= seed < 2**62 for seed in seeds(5))
        made = host_generator(torch.Generator(CUDA).manual_seed(5))
        assert made is not None and made.device.type == "cpu"
        assert made.initial_seed() == seeds(5)[0]
    assert not reads.counts

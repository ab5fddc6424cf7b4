"""A convolution of an upsampled picture, from the small one: results, and when."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.networks import autoencoder, vqgan_layers
from core.networks.upsampling import LEAST, upsample_and_convolve
from core.plain import VARIABLE


def _plainly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    larger = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.conv2d(larger, weight, bias, padding=1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 5, LEAST // 16, 16), (3, 5, 17, 13), (LEAST, 5, 1, 1)])
@torch.no_grad()
def test_the_result_is_that_of_the_large_picture(
    shape: tuple[int, ...], bias: bool, layout: torch.memory_format
) -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=draw, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(7, 5, 3, 3, generator=draw, dtype=torch.float64)
    weight = weight.contiguous(memory_format=layout)
    added = torch.randn(7, generator=draw).double() if bias else None
    torch.testing.assert_close(upsample_and_convolve(x, weight, added), _plainly(x, weight, added))


@pytest.mark.parametrize(
    ("positions", "plain", "training", "transposed"),
    [
        (LEAST, "", False, True),
        (LEAST - 1, "", False, False),
        (LEAST, "1", False, False),
        (LEAST, "", True, False),
    ],
)
def test_few_positions_training_and_the_switch_choose_the_plain_twin(
    positions: int, plain: str, training: bool, transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, plain)
    seen: list[torch.Size] = []
    convolve = F.conv_transpose2d
    monkeypatch.setattr(
        F,
        "conv_transpose2d",
        lambda x, *rest, **more: seen.append(x.shape) or convolve(x, *rest, **more),
    )
    x, weight = torch.randn(1, 2, positions, 1), torch.randn(3, 2, 3, 3)
    with torch.set_grad_enabled(training):
        found = upsample_and_convolve(x, weight, None)
    torch.testing.assert_close(found, _plainly(x, weight, None), rtol=1e-4, atol=1e-5)
    assert bool(seen) is transposed


@pytest.mark.parametrize(
    "upsample",
    [lambda: autoencoder.Upsample(6, 6), lambda: vqgan_layers.Upsample("nearest", 6)],
    ids=["ours", "vqgan"],
)
def test_both_networks_upsample_by_it(upsample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = upsample().double(), torch.randn(1, 6, 32, 32).double()
    torch.testing.assert_close(module(x), _plainly(x, module.conv.weight, module.conv.bias))
    for home in (autoencoder, vqgan_layers):
        monkeypatch.setattr(home, "upsample_and_convolve", lambda *given: given)
    assert module(x)[0] is x and module(x)[1] is module.conv.weight

"""torch.compile makes one graph of every quantizer, which computes the same."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from core.quantizers import (
    ProductConfig,
    Quantized,
    RegVQConfig,
    ResidualConfig,
    SignalQuantizer,
    VQConfig,
)
from tests.core.quantizers.test_quantizers import CONFIGS

pytestmark = pytest.mark.slow
ALL = {
    **{name: config for name, config in CONFIGS.items() if name != "vq-cosine-kmeans"},
    "vq-cosine": VQConfig(size=30, distance="cosine"),
    "regvq-image": RegVQConfig(size=30, prior_scope="image"),
    "residual": ResidualConfig(RegVQConfig(size=30), levels=2),
    "product": ProductConfig(VQConfig(size=30)),
}
"""All but codes that are initialized from the first batch, which asks the graph for a value."""

SOON = {
    *((name, True) for name in ("vq", "regvq-distance", "nsvq", "gumbel")),
    *((name, False) for name in ("ibq", "residual")),
}
"""Those of ``make test``: each way to search, to draw and to sum over codes. The operators are
tested without a graph, too."""


def outcome(quantizer: torch.nn.Module, call: object, train: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    quantizer.train(train).zero_grad()
    z = torch.randn(2, 8, 3, 4).requires_grad_()
    found: Quantized = call(z)
    if train:
        (found.z.square().mean() + sum(found.losses.values())).backward()
    out = {"z": found.z, "ids": found.ids, **found.losses}
    out |= {"mask": found.mask} if found.mask is not None else {}
    out |= {f"gradient {n}": p.grad for n, p in quantizer.named_parameters() if p.grad is not None}
    return out | ({"latents": z.grad} if z.grad is not None else {})


@pytest.mark.parametrize(
    ("name", "train"),
    [
        (name, train)
        if (name, train) in SOON
        else pytest.param(name, train, marks=pytest.mark.long)
        for name, train in product(ALL, (True, False))
    ],
)
def test_one_graph_computes_the_same(name: str, train: bool) -> None:
    torch.manual_seed(1)
    quantizer = ALL[name].build(8)
    signal = SignalQuantizer(quantizer)
    for module in (quantizer, signal) if name == "regvq-distance" else (quantizer,):
        torch.compiler.reset()
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
        expected = outcome(module, module, train)
        found = outcome(module, compiled, train)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize(
    ("name", "padded"),
    [
        ("vq", False),
        *((name, True) for name in ("regvq-distance", "nsvq")),
        *(
            pytest.param(name, True, marks=pytest.mark.long)
            for name in ("ibq", "residual", "gumbel", "lfq", "diveq", "fsp")
        ),
    ],
)
def test_one_graph_serves_several_lengths(name: str, padded: bool) -> None:
    torch.manual_seed(1)
    signal = SignalQuantizer(ALL[name].build(8)).train()
    torch.compiler.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(signal, backend="aot_eager", fullgraph=True)
        for length in (5, 9, 13):
            z = torch.randn(3, 8, length)
            valid = torch.arange(length) < torch.tensor([[length], [2], [3]])
            outs = []
            for call in (signal, compiled):
                torch.manual_seed(length)
                leaf = z.clone().requires_grad_()
                out = call(leaf, *([valid] if padded else []))
                (out.z.square().mean() + sum(out.losses.values())).backward()
                outs.append({"z": out.z, "ids": out.ids, "gradient": leaf.grad, **out.losses})
            for key, value in outs[0].items():
                torch.testing.assert_close(outs[1][key], value, rtol=1e-5, atol=1e-6, msg=key)

"""Fast paths and their plain twins: one switch, and the same results."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.conditions import Condition, LabelConfig, SemanticConfig, TextConfig
from core.networks.cuda_graph import capture_graph
from core.networks.packed_linear import packed_linear
from core.networks.rms_norm import RMSNorm
from core.plain import VARIABLE, is_plain
from core.priors import AutoregressiveConfig
from core.quantizers.tiled import lookup
from train.config.base import AdamWConfig
from train.loop.optim import adamw

CONDITIONS = (
    TextConfig(width=16, layers=1, heads=2, context=12, vocabulary=20),
    SemanticConfig(classes=4, width=8),
    LabelConfig(classes=3),
)


def in_both_ways(call: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the results of a call on the fast paths and on the plain ones."""
    found = []
    for chosen in ("", "1"):
        monkeypatch.setenv(VARIABLE, chosen)
        torch.manual_seed(0)
        found.append(call())
    return found


@pytest.mark.parametrize(
    ("value", "plain"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)]
)
def test_the_variable_is_the_switch(
    value: str | None, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert is_plain() is plain


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("conditions", [(), CONDITIONS], ids=["alone", "conditioned"])
@pytest.mark.parametrize("start", [1, 5])
def test_steps_of_fixed_shape_are_those_of_the_growing_cache(
    levels: int, conditions: tuple[Any, ...], start: int
) -> None:
    """``GraphDecoder``, which a CUDA graph replays, against ``IncrementalDecoder``."""
    torch.manual_seed(0)
    config = AutoregressiveConfig(
        codebook_size=20, grid=(3, 3), width=64, layers=2, heads=2, conditions=conditions,
        levels=levels,
    )  # fmt: skip
    prior = config.build().eval()
    prior.learn_vocabulary(["a lake", "the moon"])
    for name, parameter in prior.named_parameters():
        if "modulat" in name or "null" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    condition = None
    if conditions:
        maps = torch.randint(4, (2, 3, 3))
        condition = Condition(("a lake", "the moon"), maps, torch.tensor([0, 2]))
    network = prior.network
    shape = (2, 9) if levels == 1 else (2, levels, 9)
    ids = torch.randint(20, shape)
    with torch.no_grad():
        context = network.context(condition, 2)
        whole = network(ids, context)
        for static in (False, True):
            step = network.decoder(context, 2, 9, static=static)
            found = [step(ids[..., :start]).clone()]
            found += [step(ids[..., at : at + 1]).clone() for at in range(start, 9)]
            torch.testing.assert_close(torch.stack(found, 1), whole[:, start - 1 :],
                                       rtol=1e-4, atol=1e-5)  # fmt: skip


def test_a_prior_samples_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """With packed products and without: the matrices are large enough to be packed."""
    config = AutoregressiveConfig(codebook_size=40, grid=(2, 3), width=384, layers=1, heads=2)
    torch.manual_seed(0)
    prior = config.build().eval()
    torch.nn.init.normal_(prior.network.head.weight, std=0.2)
    fast, plain = in_both_ways(
        lambda: prior.generate(n=3, generator=torch.Generator().manual_seed(1)), monkeypatch
    )
    assert torch.equal(fast, plain)
    assert len(fast.unique()) > 3


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("with_bias", [False, True])
def test_packed_products_are_those_of_linear(
    kind: torch.dtype, rows: int, with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, h = torch.randn(640, 512).to(kind), torch.randn(rows, 512).to(kind)
    bias = torch.randn(640).to(kind) if with_bias else None
    made = []
    fast, plain = in_both_ways(
        lambda: made.append(product := packed_linear(weight, rows, bias)) or product(h), monkeypatch
    )
    assert torch.equal(plain, torch.nn.functional.linear(h, weight, bias))
    precision = 1e-4 if kind == torch.float32 else 3e-2
    torch.testing.assert_close(fast, plain, rtol=precision, atol=30 * precision)
    names = [product.__code__.co_names + product.__code__.co_freevars for product in made]
    assert "linear" in names[1]
    if rows == 5:
        assert "run" in names[0] or "linear" in names[0]  # oneDNN has no bfloat16 everywhere


def test_rms_norm_has_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    x, towards = torch.randn(4, 6, 32), torch.randn(4, 6, 32)

    def gradients() -> list[Tensor]:
        norm, leaf = RMSNorm(32), x.clone().requires_grad_()
        torch.nn.init.normal_(norm.weight)
        out = norm(leaf)
        (out * towards).sum().backward()
        assert leaf.grad is not None and norm.weight.grad is not None
        return [
            out.detach(),
            leaf.grad,
            norm.weight.grad,
            torch.tensor("_Normed" in str(out.grad_fn)),
        ]

    fast, plain = in_both_ways(gradients, monkeypatch)
    assert bool(fast.pop()) and not bool(plain.pop())
    torch.testing.assert_close(fast, plain)


def test_the_optimizers_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 8)

    def weights() -> tuple[bool, list[Tensor]]:
        layer = torch.nn.Linear(8, 3)
        optimizer = adamw(layer, AdamWConfig(lr=0.1))
        for _ in range(3):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
        return bool(optimizer.defaults["fused"]), [p.detach() for p in layer.parameters()]

    (fused, fast), (unfused, plain) = in_both_ways(weights, monkeypatch)
    assert fused and not unfused
    torch.testing.assert_close(fast, plain)


def test_no_thread_has_rows_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "OWNED", 1)
    monkeypatch.setattr(lookup, "map_with_owners", lambda *given: [torch.zeros(4).long() - 1])
    rows, codes = torch.rand(4, 2), torch.rand(3, 2)
    found = in_both_ways(lambda: lookup.search(rows, codes, torch.zeros(3)), monkeypatch)
    assert found[0].tolist() == [-1] * 4 and found[1].min() >= 0


def test_neither_kernel_nor_graph_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for tensors on a GPU: the kernel and the capture are not even looked for."""
    rows: Any = SimpleNamespace(is_cuda=True, is_cpu=False, dtype=torch.float32)
    given: Any = None
    monkeypatch.setattr(lookup, "plain_best_code", lambda *given: "plain")
    monkeypatch.setattr(lookup, "_kernel", lambda: lambda *given: "kernel")
    assert in_both_ways(lambda: lookup.search(rows, given, given), monkeypatch) == [
        "kernel",
        "plain",
    ]
    example: Any = SimpleNamespace(device=torch.device("cuda"))

    def step(x: Tensor) -> Tensor:
        return x

    monkeypatch.setenv(VARIABLE, "1")
    assert capture_graph(step, example, given) is step
    monkeypatch.setenv(VARIABLE, "0")
    with pytest.raises(AttributeError):  # it begins to capture
        capture_graph(step, example, given)

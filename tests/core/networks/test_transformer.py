"""The priors' transformer: cache, rotary positions, modulation, memory."""

from __future__ import annotations

import pytest
import torch

from core.networks.incremental import IncrementalDecoder, _attend
from core.networks.packed_linear import packed_linear
from core.networks.transformer import Cache, Transformer, TransformerConfig, rotary, rotate

GRID = (3, 4)


def built(**settings) -> Transformer:
    torch.manual_seed(0)
    return Transformer(TransformerConfig(width=32, layers=2, heads=2, **settings)).eval()


def table_of(x: torch.Tensor, grid=GRID) -> torch.Tensor:
    return rotary(grid, 16, x)


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e-3])  # small values show the norms' eps
@torch.no_grad()
def test_decoding_with_a_cache_equals_the_full_pass(conditioned, size, monkeypatch):
    if conditioned:  # treat small matrices as large ones
        monkeypatch.setattr("core.networks.packed_linear._LARGE", 0)
    network = built(causal=True, modulated=conditioned, memory=conditioned)
    x, given = size * torch.randn(2, 12, 32), {}
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    if conditioned:
        given = {
            "modulation": network.modulate(torch.randn(2, 32)),
            "memory": network.project_memory(torch.randn(2, 5, 32)),
            "memory_mask": torch.tensor([[True] * 3 + [False] * 2, [True] * 5]),
        }
    table = table_of(x)
    whole = network(x, table, **given)
    cache = Cache(network.config, 2, 12, x)
    first = network(x[:, :5], table[:, :5], cache=cache, **given)
    torch.testing.assert_close(first, whole[:, :5], atol=1e-5, rtol=1e-5)
    cache.length = 5
    decoder = IncrementalDecoder(network, cache, table, 2, **given)
    for at in range(5, 12):
        found = decoder(x[:, at])
        torch.testing.assert_close(found, whole[:, at], atol=1e-5, rtol=1e-5)
    assert cache.length == 12


@torch.no_grad()
def test_in_half_precision_the_cache_changes_little(monkeypatch):
    monkeypatch.setattr("core.networks.packed_linear._LARGE", 0)  # pack small matrices, too
    network, x = built(causal=True), torch.randn(4, 12, 32)
    exact = network(x, table_of(x))
    half, y = network.bfloat16(), x.bfloat16()
    table = table_of(y)
    whole = half(y, table)
    cache = Cache(half.config, 4, 12, y)
    first = half(y[:, :1], table[:, :1], cache=cache)
    cache.length = 1
    decoder = IncrementalDecoder(half, cache, table, 4)
    found = torch.cat([first] + [decoder(y[:, at])[:, None] for at in range(1, 12)], 1)
    off = (found.float() - exact).abs().mean()
    assert 0 < off < 1.5 * (whole.float() - exact).abs().mean()  # no more than rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 5, 6, 11, 12])  # of 12 positions: below and above a half
def test_a_query_attends_to_filled_positions_only(dtype, count):
    store, q = torch.randn(2, 3, 2, 12, 8, dtype=torch.float64), torch.randn(3, 2, 8).double()
    keys, values = store[:, :, :, :count]
    weights = torch.einsum("bhd,bhnd->bhn", q, keys).softmax(-1)
    expected = torch.einsum("bhn,bhnd->bhd", weights, values).flatten(1)
    store[:, :, :, count:] = 50.0  # must have no effect
    found = _attend(q.to(dtype), store.to(dtype), count)
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.05}
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("shape", [(40, 24), (530, 512)])  # below and above the size that is packed
@torch.no_grad()
def test_packed_linear_is_the_matrix_product(dtype, rows, shape):
    weight = torch.randn(shape, dtype=torch.float64) * shape[1] ** -0.5
    bias, h = (torch.randn(*size, dtype=torch.float64) for size in (shape[:1], (rows, shape[1])))
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.02}
    for b in (None, bias):
        multiply = packed_linear(weight.to(dtype), rows, None if b is None else b.to(dtype))
        found = multiply(h.to(dtype))
        expected = h @ weight.T + (0 if b is None else b)
        assert found.dtype == dtype and found.is_contiguous()
        torch.testing.assert_close(found.double(), expected, **close)


@pytest.mark.parametrize("causal", [True, False])
def test_a_causal_position_does_not_see_later_ones(causal):
    network, x = built(causal=causal), torch.randn(1, 12, 32)
    other = x.clone()
    other[:, 7:] += 1
    change = (network(x, table_of(x)) - network(other, table_of(x))).abs().amax((0, 2))
    assert bool((change[7:] > 1e-4).all())
    assert bool((change[:7] == 0).all()) == causal


def test_rotation_is_by_row_and_column():
    q, k = torch.randn(2, 16, dtype=torch.float64)
    table = rotary((5, 6), 16, q)

    def score(a: tuple[int, int], b: tuple[int, int]) -> float:
        rotated = [
            rotate(x.view(1, 1, 16), table[:, [r * 6 + c]]) for x, (r, c) in ((q, a), (k, b))
        ]
        return float((rotated[0] * rotated[1]).sum())

    # Against complex numbers: the pair (i, i + 8) rotates with the row (i < 4) or the column.
    speed = 100.0 ** -(torch.arange(4, dtype=torch.float64) / 4)
    angle = torch.cat([3 * speed, 5 * speed])
    rotated = torch.complex(q[:8], q[8:]) * torch.polar(torch.ones_like(angle), angle)
    found = rotate(q.view(1, 1, 16), table[:, [3 * 6 + 5]])[0, 0]
    torch.testing.assert_close(found, torch.cat([rotated.real, rotated.imag]))
    # Attention depends on the offset of two cells only.
    assert score((0, 1), (2, 3)) == pytest.approx(score((2, 3), (4, 5)))
    assert score((0, 1), (2, 3)) != pytest.approx(score((0, 1), (3, 2)), abs=1e-3)


def test_modulation_starts_as_the_skip_connection():
    network, x = built(modulated=True), torch.randn(2, 12, 32)
    vector = torch.randn(2, 32)
    out = network(x, table_of(x), modulation=network.modulate(vector))
    assert torch.equal(out, network.norm(x))
    torch.nn.init.normal_(network.modulator.weight, std=0.1)
    changed = network(x, table_of(x), modulation=network.modulate(vector))
    other = network(x, table_of(x), modulation=network.modulate(vector.flip(0)))
    assert not torch.allclose(changed, out, atol=1e-3)
    assert not torch.allclose(changed, other, atol=1e-3)


def test_memory_mask_excludes_memory_tokens():
    network, x = built(memory=True), torch.randn(2, 12, 32)
    tokens = torch.randn(2, 5, 32)
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])

    def run(tokens):
        return network(x, table_of(x), memory=network.project_memory(tokens), memory_mask=mask)

    out = run(tokens)
    tokens[:, 4] += 1
    change = (run(tokens) - out).abs().amax((1, 2))
    assert change[0] == 0
    assert change[1] > 1e-4
    short = network(
        x[:1], table_of(x), memory=network.project_memory(tokens[:1, :3]), memory_mask=mask[:1, :3]
    )
    torch.testing.assert_close(short, out[:1], atol=1e-5, rtol=1e-5)


def test_runs_in_half_precision():
    network, x = built(causal=True), torch.randn(2, 12, 32)
    whole = network(x, table_of(x))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(x, table_of(x)), whole, atol=0.1, rtol=0.1)
    half = network.bfloat16()(x.bfloat16(), table_of(x))
    torch.testing.assert_close(half.float(), whole, atol=0.2, rtol=0.1)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"width": 36, "heads": 2}, "multiple"),
        ({"layers": 0}, "layers"),
        ({"dropout": 1.0}, "drop"),
    ],
)
def test_invalid_sizes_are_named(settings, word):
    with pytest.raises(ValueError, match=word):
        TransformerConfig(**settings)

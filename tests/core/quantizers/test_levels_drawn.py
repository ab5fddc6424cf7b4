"""Residual and product codes of drawn shapes, types, levels, groups and masks."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.quantizers import (
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    FSQConfig,
    LeveledQuantizer,
    LFQConfig,
    NSVQConfig,
    ProductConfig,
    RegVQConfig,
    ResidualConfig,
    SignalQuantizer,
    SimVQConfig,
    VQConfig,
)

BASES = {
    "vq": VQConfig(size=16),
    "vq-ema": VQConfig(size=16, codebook="ema"),
    "regvq": RegVQConfig(size=16, mask_ratio=0.0),
    "nsvq": NSVQConfig(size=16),
    "simvq": SimVQConfig(size=16),
    "fsq": FSQConfig(levels=(4, 4)),
    "lfq": LFQConfig(size=16),
    "bsq": BSQConfig(size=16),
    "diveq": DiVeQConfig(size=16, noise=0),
    "fsp": FSPConfig(levels=(4, 4), quantize_rate=1),
}
TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
few = settings(max_examples=40, deadline=None, derandomize=True)
bases = st.sampled_from(list(BASES))
small = st.integers(1, 4)
seeds = st.integers(0, 2**20)


def built(
    base: str, levels: int, groups: int, shared: bool, dim: int, seed: int, beam: int = 1
) -> Any:
    torch.manual_seed(seed)
    residual = ResidualConfig(BASES[base], levels=levels, shared=shared, beam=beam)
    quantizer = ProductConfig(residual, groups=groups, shared=shared).build(dim * groups)
    with torch.no_grad():
        for name, parameter in quantizer.named_parameters():
            if name.endswith("codes"):
                parameter.normal_(0, 0.5)
    return quantizer


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape)


def level_sizes(quantizer: LeveledQuantizer) -> Tensor:
    return torch.tensor(quantizer.sizes).view(1, -1, 1, 1)


@few
@given(
    base=bases, levels=small, groups=st.integers(1, 3), shared=st.booleans(),
    beam=st.sampled_from([1, 3]), dim=st.integers(1, 5), batch=st.integers(1, 3), height=small,
    width=small, kind=st.sampled_from(TYPES), seed=seeds,
)  # fmt: skip
def test_any_shape_type_and_number_of_levels(
    base: str, levels: int, groups: int, shared: bool, beam: int, dim: int, batch: int,
    height: int, width: int, kind: torch.dtype, seed: int,
) -> None:  # fmt: skip
    """Ids have their shape and range, codes are those of the ids, in training and in eval mode."""
    quantizer = built(base, levels, groups, shared, dim, seed, beam)
    z = drawn(batch, dim * groups, height, width).to(kind)
    leaf = z.clone().requires_grad_()
    quantizer.train()
    out = quantizer(leaf)
    assert quantizer.levels == levels * groups and out.z.dtype == torch.float32
    for ids in (out.ids, quantizer.assign(z)):
        assert ids.shape == (batch, levels * groups, height, width) and ids.dtype == torch.int64
        assert bool(((ids >= 0) & (ids < level_sizes(quantizer))).all())
    torch.testing.assert_close(out.z, quantizer.embed(out.ids), rtol=1e-5, atol=1e-5)
    (out.z.sum() + sum(out.losses.values())).backward()
    assert leaf.grad is not None and leaf.grad.dtype == kind and bool(leaf.grad.isfinite().all())
    quantizer.update(z, out.ids)

    quantizer.eval()
    found = quantizer(z)
    assert torch.equal(found.ids, quantizer(z.float()).ids)  # computed in float32
    assert torch.equal(found.ids, quantizer.assign(z)) and not found.losses
    torch.testing.assert_close(found.z, quantizer.embed(found.ids), rtol=1e-5, atol=1e-6)
    books = quantizer.level_codebooks()
    assert [len(book) for book in books] == list(quantizer.sizes)
    for first in range(1, levels * groups + 1):
        parts = []
        for group in range(groups):
            part = torch.zeros(batch, height, width, dim)
            for level in range(group * levels, min((group + 1) * levels, first)):
                part = part + books[level][found.ids[:, level]]
            parts.append(part)
        wanted = torch.cat(parts, -1).movedim(-1, 1)
        seen = quantizer.embed(found.ids[:, :first])
        torch.testing.assert_close(seen, wanted, rtol=1e-4, atol=1e-5)


@few
@given(
    base=bases, levels=small, groups=st.integers(1, 2), places=st.integers(1, 7),
    last=st.booleans(), seed=seeds,
)  # fmt: skip
def test_padding_of_any_shape_changes_nothing(
    base: str, levels: int, groups: int, places: int, last: bool, seed: int
) -> None:
    """Losses, ids, codes and averages are those of the valid places alone."""
    torch.manual_seed(seed)
    valid = torch.rand(3, places) < 0.6
    assume(bool(valid.any()))
    signal, alone = (
        SignalQuantizer(built(base, levels, groups, False, 3, seed), channels="last")
        for _ in range(2)
    )
    z = drawn(3, places, 3 * groups)
    z[~valid] = torch.nan
    if not last:
        signal = SignalQuantizer(signal.quantizer, channels="first")
    padded = z if last else z.movedim(-1, 1)
    out, wanted = signal(padded, valid), alone(z[valid][None])
    assert out.ids.shape == (3, levels * groups, places)
    assert bool((out.ids.movedim(1, -1)[~valid] == -1).all())
    assert torch.equal(out.ids.movedim(1, -1)[valid], wanted.ids[0].t())
    value = out.z if last else out.z.movedim(1, -1)
    assert torch.equal(value[valid], wanted.z[0]) and not value[~valid].any()
    assert out.losses.keys() == wanted.losses.keys()
    for name, loss in wanted.losses.items():
        torch.testing.assert_close(out.losses[name], loss)
    signal.update(padded, out.ids)
    alone.update(z[valid][None], wanted.ids)
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(signal.state_dict()[name], tensor, msg=name)


@few
@given(
    dropout=st.floats(0, 1),
    levels=st.integers(1, 5),
    seed=seeds,
    base=st.sampled_from(["vq", "lfq"]),
)
def test_dropped_levels_are_the_last_ones(
    dropout: float, levels: int, seed: int, base: str
) -> None:
    torch.manual_seed(seed)
    quantizer = ResidualConfig(BASES[base], levels=levels, dropout=dropout).build(4).train()
    draw = torch.Generator().manual_seed(seed)
    z = drawn(2, 4, 2, 1)
    for _ in range(5):
        out = quantizer(z, generator=draw)
        kept = out.ids >= 0
        used = int(kept[0, :, 0, 0].sum())
        assert 1 <= used <= levels and (used == levels or dropout > 0)
        assert bool(kept[:, :used].all()) and not kept[:, used:].any()
        torch.testing.assert_close(out.z, quantizer.embed(out.ids[:, :used]), rtol=1e-5, atol=1e-5)
        assert torch.equal(quantizer.embed(out.ids), quantizer.embed(out.ids[:, :used]))

"""Quantizers of signals of any shape: every layout and every padding gives the same codes."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.quantizers import (
    LFQConfig,
    ProductConfig,
    RegVQConfig,
    ResidualConfig,
    SignalQuantizer,
    VQConfig,
)
from tests.core.quantizers.test_quantizers import CONFIGS

LEVELED = {
    "residual": ResidualConfig(VQConfig(size=30), levels=3),
    "product": ProductConfig(VQConfig(size=30), groups=2),
}


@pytest.fixture(params=CONFIGS | LEVELED)
def config(request):
    return (CONFIGS | LEVELED)[request.param]


def built(config):
    torch.manual_seed(1)
    quantizer = config.build(8)
    with torch.no_grad():
        for parameter in quantizer.parameters():
            if parameter.shape == (30, 8):
                parameter.normal_(0, 0.5)
    return quantizer


def step(quantizer, *arguments: Tensor) -> dict[str, Tensor]:
    """Return what a training step gives and changes: output, losses, gradients, codes, buffers."""
    quantizer.train()
    z = arguments[0].clone().requires_grad_()
    draw = torch.Generator().manual_seed(3)
    out = quantizer(z, *arguments[1:], mask_ratio=0.0, generator=draw)
    (out.z.square().mean() + sum(out.losses.values())).backward()
    quantizer.update(z.detach(), out.ids)
    found = {"z": out.z.detach(), "ids": out.ids, "latents": z.grad}
    found |= {f"loss {name}": loss.detach() for name, loss in out.losses.items()}
    found |= {
        f"gradient {name.removeprefix('quantizer.')}": p.grad
        for name, p in quantizer.named_parameters()
        if p.grad is not None
    }
    state = quantizer.state_dict()
    return found | {name.removeprefix("quantizer."): value for name, value in state.items()}


def equal(found: Tensor, expected: Tensor, name: str = "") -> None:
    """Fail unless two tensors are equal, up to the rounding of sums over other strides."""
    if not found.is_floating_point():
        assert torch.equal(found, expected), name
    else:
        torch.testing.assert_close(
            found, expected, rtol=1e-6, atol=1e-6, msg=lambda text: f"{name}: {text}"
        )


@pytest.mark.parametrize("places", [(12,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("channels", ["first", "last"])
def test_each_layout_gives_what_the_quantizer_gives_for_pictures(config, channels, places) -> None:
    z = torch.randn(2, 8, 12, 1, generator=torch.Generator().manual_seed(0))
    expected = step(built(config), z)
    signal = SignalQuantizer(built(config), channels)
    laid = z.view(2, 8, *places)
    laid = laid if channels == "first" else laid.movedim(1, -1)
    found = step(signal, laid)
    assert found.keys() == expected.keys()
    leveled = expected["ids"].ndim == 4
    assert found["ids"].shape == (
        (2, signal.quantizer.levels, *places) if leveled else (2, *places)
    )
    for name, value in expected.items():
        if name in ("z", "latents") and channels == "last":
            found[name] = found[name].movedim(-1, 1)
        equal(found[name].reshape(value.shape), value, name)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any),
    name=st.sampled_from(list(CONFIGS | LEVELED)),
)
def test_padding_changes_nothing_but_itself(seed: int, lengths: list[int], name: str) -> None:
    """Losses, codes and statistics are those of the valid places alone."""
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(len(lengths), 6, 8, generator=draw) * 2
    valid = torch.arange(6) < torch.tensor(lengths)[:, None]
    config = (CONFIGS | LEVELED)[name]
    alone = step(built(config), z[valid].t()[None, :, :, None])
    z[~valid] = torch.nan if seed % 2 else 1e6  # what stands there is never read
    found = step(SignalQuantizer(built(config), "last"), z, valid)
    ids, expected = found.pop("ids"), alone.pop("ids")
    if ids.ndim == 3:
        ids, expected = ids.movedim(1, -1), expected[0, :, :, 0].t()
    assert torch.equal(ids[valid], expected.reshape(ids[valid].shape))
    assert (ids[~valid] == -1).all()
    assert (found["z"][~valid] == 0).all() and (found["latents"][~valid] == 0).all()
    equal(found["z"][valid], alone["z"][0, :, :, 0].t())
    # The mean of this test's own loss also divides by the padded places.
    for key in alone.keys() - {"z", "latents"}:
        if not key.startswith("gradient"):
            equal(found[key], alone[key], key)


def test_gradients_under_padding_are_those_of_the_valid_places(config) -> None:
    draw = torch.Generator().manual_seed(0)
    z, valid = torch.randn(3, 5, 8, generator=draw), torch.rand(3, 5, generator=draw) < 0.6

    def gradients(quantizer, latents: Tensor, *more: Tensor) -> list[Tensor]:
        leaf = latents.clone().requires_grad_()
        out = quantizer.train()(leaf, *more, mask_ratio=0.0)
        (out.z.square().sum() + sum(out.losses.values())).backward()
        return [leaf.grad, *(p.grad for p in quantizer.parameters() if p.grad is not None)]

    alone = gradients(built(config), z[valid].t()[None, :, :, None])
    found = gradients(SignalQuantizer(built(config), "last"), z, valid)
    equal(found[0][valid], alone[0][0, :, :, 0].t())
    assert (found[0][~valid] == 0).all()
    for a, b in zip(found[1:], alone[1:], strict=True):
        equal(a, b)


def test_assign_and_embed_are_those_of_forward_in_eval_mode(config) -> None:
    draw = torch.Generator().manual_seed(0)
    z, valid = torch.randn(3, 8, 5, generator=draw), torch.rand(3, 5, generator=draw) < 0.6
    signal = SignalQuantizer(built(config)).eval()
    out = signal(z, valid)
    assert torch.equal(signal.assign(z, valid), out.ids)
    equal(signal.embed(out.ids), out.z)
    equal(signal.embed(signal.assign(z)), signal(z).z)


def test_half_precision_and_autocast_give_the_codes_of_float32(config) -> None:
    z = torch.randn(2, 8, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    signal = SignalQuantizer(built(config)).eval()
    expected = signal(z.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = signal(z)
    assert torch.equal(found.ids, expected.ids) and torch.equal(found.z, expected.z)
    assert found.z.dtype == torch.float32


def test_states_load_strictly(config) -> None:
    signal, other = SignalQuantizer(built(config)), SignalQuantizer(config.build(8), "last")
    other.load_state_dict(copy.deepcopy(signal.state_dict()), strict=True)
    z = torch.randn(2, 8, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.eval().assign(z.movedim(1, -1)), signal.eval().assign(z))


def test_padded_places_are_not_masked() -> None:
    signal = SignalQuantizer(RegVQConfig(size=4).build(8)).train()
    valid = torch.tensor([[True, True, False], [True, False, False]])
    found = signal(torch.randn(2, 8, 3), valid, mask_ratio=1.0)
    assert found.mask is not None and torch.equal(found.mask, valid)


def test_places_with_dropped_levels_count_and_padded_ones_do_not() -> None:
    torch.manual_seed(0)
    base = VQConfig(size=4, codebook="ema")
    signal = SignalQuantizer(ResidualConfig(base, levels=2).build(8)).train()
    alone = copy.deepcopy(signal.quantizer)
    z, valid = torch.randn(2, 8, 5), torch.ones(2, 5, dtype=torch.bool)
    valid[1, 3:] = False
    ids = signal(z, valid).ids
    ids[:, 1] = -1  # dropped in this step, at all places
    signal.update(z, ids)
    rows = z.movedim(1, -1)[valid]
    kept = ids.movedim(1, -1)[valid]
    alone.update(rows.t()[None, :, :, None], kept.t()[None, :, :, None])
    before = [part.codes for part in alone.quantizers]
    after = [part.codes for part in signal.quantizer.quantizers]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    torch.manual_seed(0)
    untouched = ResidualConfig(base, levels=2).build(8)
    assert not torch.equal(after[0], untouched.quantizers[0].codes)


@pytest.mark.parametrize("base", [VQConfig(size=30), LFQConfig(size=32)])
def test_a_dropped_level_adds_nothing(base) -> None:
    config = ResidualConfig(base, levels=3, dropout=1.0)
    signal, z = SignalQuantizer(built(config)).train(), torch.randn(2, 8, 5)
    valid = torch.arange(5) < torch.tensor([[5], [2]])
    for _ in range(4):  # one level or two
        out = signal(z, valid)
        assert (out.ids[:, -1] == -1).all()
        equal(signal.embed(out.ids), out.z.detach())


def test_bad_input_gets_a_sentence_with_the_shapes() -> None:
    signal = SignalQuantizer(VQConfig(size=4).build(8))
    z = torch.zeros(2, 8, 3)
    none = torch.zeros(2, 3, dtype=torch.bool)
    bad = z.clone()
    bad[1, 4, 2] = torch.inf
    cases = {
        r"must be \(B, D, ...\) with D = 8, got \(2, 8\)": (z[..., 0],),
        r"must be \(B, D, ...\) with D = 8, got \(2, 3, 8\)": (z.movedim(1, -1),),
        r"must be floating-point numbers, got torch.int64": (z.long(),),
        r"latents \(0, 8, 3\) is empty": (z[:0],),
        r"latents \(2, 8, 3\) is all padding": (z, none),
        r"valid must be bool \(2, 3\) for latents \(2, 8, 3\), got float32": (z, none.float()),
        r"valid must be bool \(2, 3\) for latents \(2, 8, 3\), got bool \(2, 8\)": (
            z, torch.ones(2, 8, dtype=torch.bool),
        ),
        r"1 of 6 latents of the batch \(2, 8, 3\) are not finite": (bad,),
    }  # fmt: skip
    for sentence, arguments in cases.items():
        for call in (signal, signal.assign):
            with pytest.raises(ValueError, match=sentence):
                call(*arguments)
    with pytest.raises(ValueError, match=r"latents \(0, 8, 3\) is empty"):  # also with a mask
        signal(z[:0], none[:0])
    with pytest.raises(ValueError, match="channels must be 'first' or 'last', got 'second'"):
        SignalQuantizer(VQConfig(size=4).build(8), "second")


def test_padded_places_have_no_perturbation_and_no_code() -> None:
    signal = SignalQuantizer(RegVQConfig(size=4).build(8)).train()
    valid = torch.tensor([[True, True, False], [True, False, False]])
    found = signal(torch.randn(2, 8, 3), valid, mask_ratio=1.0)
    assert found.perturbation is not None
    assert not found.perturbation[~valid].any() and not found.z.movedim(1, -1)[~valid].any()

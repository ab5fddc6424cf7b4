"""Residual and product codes against plain loops, enumeration and vector-quantize-pytorch."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.quantizers import (
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    ProductConfig,
    RegVQConfig,
    ResidualConfig,
    SimVQConfig,
    VQConfig,
)
from core.quantizers.beam import best_sequences

BASES = {
    "vq": VQConfig(size=16),
    "vq-ema": VQConfig(size=16, codebook="ema", decay=0.5),
    "regvq": RegVQConfig(size=16),
    "nsvq": NSVQConfig(size=16),
    "simvq": SimVQConfig(size=16),
    "fsq": FSQConfig(levels=(4, 4)),
    "lfq": LFQConfig(size=16),
    "gumbel": GumbelConfig(size=16),
    "bsq": BSQConfig(size=16, commitment=0.2),
    "diveq": DiVeQConfig(size=16, noise=0),
    "fsp": FSPConfig(levels=(4, 4), quantize_rate=1),
}


def latents(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def built(config, dim: int = 6):
    torch.manual_seed(1)
    quantizer = config.build(dim)
    with torch.no_grad():
        for parameter in quantizer.parameters():
            if parameter.ndim and len(parameter) == 16:
                parameter.normal_(0, 0.5)
    return quantizer


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("shared", [False, True])
def test_residual_codes_are_those_of_a_plain_loop(base: str, shared: bool) -> None:
    quantizer = built(ResidualConfig(BASES[base], levels=3, shared=shared)).eval()
    assert len(quantizer.quantizers) == (1 if shared else 3)
    assert quantizer.sizes == (16, 16, 16) and quantizer.bits == 12 and quantizer.levels == 3
    z = latents(2, 6, 3, 4)
    rest, total, ids = z, torch.zeros_like(z), []
    for level in range(3):
        part = quantizer.quantizers[0 if shared else level]
        ids.append(part.assign(rest))
        total = total + part.embed(ids[-1])
        rest = z - total
    found = quantizer(z)
    assert found.ids.shape == (2, 3, 3, 4) and torch.equal(found.ids, torch.stack(ids, 1))
    torch.testing.assert_close(found.z, total, rtol=0, atol=1e-6)
    assert torch.equal(quantizer.assign(z), found.ids)
    assert torch.equal(quantizer.embed(found.ids), found.z)
    first = quantizer.quantizers[0].embed(found.ids[:, 0])
    assert torch.equal(quantizer.embed(found.ids[:, :1]), first)
    two = first + quantizer.quantizers[0 if shared else 1].embed(found.ids[:, 1])
    assert torch.equal(quantizer.embed(found.ids[:, :2]), two)


@pytest.mark.parametrize("base", BASES)
def test_losses_are_summed_and_reach_the_encoder_at_each_level(base: str) -> None:
    quantizer = built(ResidualConfig(BASES[base], levels=3)).train()
    z = latents(2, 6, 3, 4).requires_grad_()
    found = quantizer(z, mask_ratio=0.0)
    rest, losses, gradient = z.detach(), {}, torch.zeros_like(z)
    for level in range(3):
        leaf = rest.clone().requires_grad_()
        part = quantizer.quantizers[level](leaf, mask_ratio=0.0)
        for name, loss in part.losses.items():
            losses[name] = losses.get(name, 0.0) + float(loss.detach())
        if part.losses:
            summed = sum(part.losses.values()) + 0 * leaf.sum()
            gradient += torch.autograd.grad(summed, leaf)[0]
        rest = rest - part.z.detach()
    assert {k: float(v.detach()) for k, v in found.losses.items()} == pytest.approx(
        losses, abs=1e-6
    )
    if found.losses:
        sum(found.losses.values()).backward()
        torch.testing.assert_close(
            torch.zeros_like(z) if z.grad is None else z.grad, gradient, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("base", ["vq", "vq-ema", "nsvq", "simvq"])
def test_the_gradient_on_the_latents_is_straight_through_once(base: str) -> None:
    quantizer = built(ResidualConfig(BASES[base], levels=4)).train()
    z, weight = latents(2, 6, 3, 4).requires_grad_(), latents(2, 6, 3, 4).flip(0)
    (quantizer(z, mask_ratio=0.0).z * weight).sum().backward()
    assert torch.allclose(z.grad, weight, atol=1e-6)


OTHERS = {
    **{name: BASES[name] for name in ("regvq", "gumbel", "fsq", "lfq", "bsq", "diveq", "fsp")},
    "vq-rotation": VQConfig(size=16, estimator="rotation"),
    "vq-cosine": VQConfig(size=16, distance="cosine"),
    "simvq-rotation": SimVQConfig(size=16, estimator="rotation"),
    "ibq": IBQConfig(size=16),
}


@pytest.mark.parametrize("base", OTHERS)
def test_gradients_on_the_latents_that_are_no_identity_are_summed(base: str) -> None:
    """Less an identity per level, they would point away from the decoder's."""
    quantizer = built(ResidualConfig(OTHERS[base], levels=4)).train()
    z, weight = latents(2, 6, 3, 4), latents(2, 6, 3, 4).flip(0)
    leaf, rest, summed = z.clone().requires_grad_(), z, torch.zeros_like(z)
    (quantizer(leaf, mask_ratio=0.0).z * weight).sum().backward()
    for part in quantizer.quantizers:
        level = rest.clone().requires_grad_()
        found = part(level, mask_ratio=0.0).z
        summed += torch.autograd.grad((found * weight).sum(), level)[0]
        rest = rest - found.detach()
    torch.testing.assert_close(leaf.grad, summed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("base", ["fsq", "lfq", "bsq", "fsp"])
def test_layers_of_every_level_learn_from_the_decoder(base: str) -> None:
    quantizer = built(ResidualConfig(BASES[base], levels=3)).train()
    quantizer(latents(2, 6, 3, 4)).z.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in quantizer.parameters())


@pytest.mark.parametrize("shared", [False, True])
def test_averages_of_each_level_follow_its_own_inputs(shared: bool) -> None:
    quantizer = built(ResidualConfig(BASES["vq-ema"], levels=2, shared=shared)).train()
    z = latents(2, 6, 3, 4)
    first, second = quantizer.quantizers[0], quantizer.quantizers[-1]
    ids = quantizer(z).ids
    rest = z - first.embed(ids[:, 0])
    expected = built(ResidualConfig(BASES["vq-ema"], levels=2, shared=shared)).quantizers
    if shared:
        expected[0].update(torch.cat([z, rest]), torch.cat([ids[:, 0], ids[:, 1]]))
    else:
        expected[0].update(z, ids[:, 0])
        expected[1].update(rest, ids[:, 1])
    quantizer.update(z, ids)
    assert torch.equal(first.codes, expected[0].codes)
    assert torch.equal(second.codes, expected[-1].codes)


def test_dropout_uses_the_first_levels_with_its_probability() -> None:
    quantizer = built(ResidualConfig(VQConfig(size=16), levels=4, dropout=0.6)).train()
    z, draw = latents(1, 6, 1, 1), torch.Generator().manual_seed(0)
    counts = [0] * 5
    for _ in range(2000):
        ids = quantizer(z, generator=draw).ids[0, :, 0, 0]
        used = int((ids >= 0).sum())
        assert len(ids) == 4 and (ids[:used] >= 0).all() and (ids[used:] == -1).all()
        counts[used] += 1
    expected = [0, 400, 400, 400, 800]  # 0.6 / 3 each, and 0.4
    assert sum((c - e) ** 2 / e for c, e in zip(counts[1:], expected[1:], strict=True)) < 16.3
    dropped = torch.tensor([3, 5, -1, -1]).view(1, 4, 1, 1)
    assert torch.equal(quantizer.embed(dropped), quantizer.embed(dropped[:, :2]))
    before = [part.codes.clone() for part in quantizer.quantizers]
    quantizer.update(z, dropped)
    assert all(torch.equal(a, b.codes) for a, b in zip(before, quantizer.quantizers, strict=True))
    assert (quantizer.eval()(z, generator=draw).ids >= 0).all()


def test_a_dropped_level_has_no_mask() -> None:
    config = ResidualConfig(RegVQConfig(size=16, mask_ratio=1.0), levels=3, dropout=1.0)
    quantizer, draw = built(config).train(), torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(20):
        found = quantizer(latents(1, 6, 2, 2), mask_ratio=1.0, generator=draw)
        used = found.ids[0, :, 0, 0] >= 0
        assert found.mask is not None and torch.equal(found.mask, used.view(1, 3, 1, 1).expand(
            1, 3, 2, 2))  # fmt: skip
        seen.add(int(used.sum()))
    assert seen == {1, 2}


def test_a_dropped_level_changes_no_average() -> None:
    quantizer = built(ResidualConfig(BASES["vq-ema"], levels=3)).train()
    before = [part.codes.clone() for part in quantizer.quantizers]
    z = latents(1, 6, 2, 2)
    ids = quantizer(z).ids
    ids[:, 1:] = -1
    quantizer.update(z, ids)
    changed = [
        not torch.equal(a, b.codes) for a, b in zip(before, quantizer.quantizers, strict=True)
    ]
    assert changed == [True, False, False]


def test_a_beam_of_all_combinations_finds_the_nearest_sum() -> None:
    draw = torch.Generator().manual_seed(0)
    books = [torch.randn(5, 3, generator=draw) for _ in range(3)]
    rows = torch.randn(40, 3, generator=draw) * 2
    combinations = list(itertools.product(range(5), repeat=3))
    sums = torch.stack([sum(b[i] for b, i in zip(books, c, strict=True)) for c in combinations])
    distances = torch.cdist(rows, sums)
    exact = distances.argmin(1)
    found = best_sequences(rows, books, 125)
    assert [tuple(ids) for ids in found.tolist()] == [combinations[i] for i in exact]

    def error(beam: int) -> float:
        ids = best_sequences(rows, books, beam)
        return float((rows - sum(book[ids[:, n]] for n, book in enumerate(books))).square().sum())

    greedy = []
    rest = rows
    for book in books:
        greedy.append(torch.cdist(rest, book).argmin(1))
        rest = rest - book[greedy[-1]]
    assert torch.equal(best_sequences(rows, books, 1), torch.stack(greedy, 1))
    assert error(1) > error(4) >= error(25) >= error(125)


def test_pieces_of_a_search_are_those_of_one(monkeypatch) -> None:
    books = [latents(5, 3), latents(7, 3)]
    whole = best_sequences(latents(40, 3), books, 4)
    monkeypatch.setattr("core.quantizers.beam.CELLS", 100)
    assert torch.equal(best_sequences(latents(40, 3), books, 4), whole)


def test_the_beam_of_a_quantizer_is_used_in_eval_mode() -> None:
    config = ResidualConfig(VQConfig(size=16), levels=3, beam=8)
    quantizer, greedy = built(config), built(ResidualConfig(VQConfig(size=16), levels=3))
    z = latents(2, 6, 3, 4)
    wide, narrow = quantizer.eval()(z), greedy.eval()(z)
    assert torch.equal(wide.ids, quantizer.assign(z))
    assert torch.equal(quantizer.embed(wide.ids), wide.z)
    assert (z - wide.z).square().mean() < (z - narrow.z).square().mean()
    assert torch.equal(quantizer.train()(z).ids, greedy.train()(z).ids)


def test_product_codes_are_those_of_each_group() -> None:
    quantizer = built(ProductConfig(VQConfig(size=16), groups=3)).train()
    z = latents(2, 6, 3, 4).requires_grad_()
    found = quantizer(z)
    parts = [quantizer.quantizers[g](z[:, 2 * g : 2 * g + 2]) for g in range(3)]
    assert torch.equal(found.ids, torch.stack([part.ids for part in parts], 1))
    assert torch.equal(found.z, torch.cat([part.z for part in parts], 1))
    for name in ("commitment", "codebook"):
        total = sum(float(part.losses[name].detach()) for part in parts)
        assert float(found.losses[name].detach()) == pytest.approx(total)
    quantizer.eval()
    assert torch.equal(quantizer.embed(quantizer.assign(z)), quantizer(z).z)
    first = quantizer.embed(found.ids[:, :1])
    assert torch.equal(first[:, :2], found.z[:, :2]) and not first[:, 2:].any()


def test_products_of_residual_codes_order_levels_by_group() -> None:
    config = ProductConfig(ResidualConfig(VQConfig(size=16, codebook="ema"), levels=2), groups=3)
    quantizer = built(config).train()
    z = latents(2, 6, 3, 4)
    found = quantizer(z)
    assert found.ids.shape == (2, 6, 3, 4) and quantizer.levels == 6 and quantizer.bits == 24
    second = quantizer.quantizers[1](z[:, 2:4])
    assert torch.equal(found.ids[:, 2:4], second.ids)
    assert torch.equal(quantizer.embed(found.ids), found.z)
    assert [len(book) for book in quantizer.level_codebooks()] == [16] * 6
    before = [part.quantizers[1].codes.clone() for part in quantizer.quantizers]
    quantizer.update(z, found.ids)
    after = [part.quantizers[1].codes for part in quantizer.quantizers]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("shared", [False, True])
def test_averages_of_groups(shared: bool) -> None:
    config = ProductConfig(BASES["vq-ema"], groups=2, shared=shared)
    quantizer, expected = built(config).train(), built(config).quantizers
    z = latents(2, 6, 3, 4)
    ids = quantizer(z).ids
    quantizer.update(z, ids)
    if shared:
        expected[0].update(torch.cat(z.chunk(2, 1)), torch.cat([ids[:, 0], ids[:, 1]]))
    else:
        for group in range(2):
            expected[group].update(z.chunk(2, 1)[group], ids[:, group])
    for mine, theirs in zip(quantizer.quantizers, expected, strict=True):
        assert torch.equal(mine.codes, theirs.codes)


def test_a_group_of_one_and_a_level_of_one_are_the_quantizer_itself() -> None:
    z = latents(2, 6, 3, 4)
    plain = built(VQConfig(size=16)).train()(z)
    for config in (ResidualConfig(VQConfig(size=16), levels=1, dropout=0.9),
                   ProductConfig(VQConfig(size=16), groups=1)):  # fmt: skip
        found = built(config).train()(z)
        assert torch.equal(found.ids[:, 0], plain.ids) and torch.equal(found.z, plain.z)
        assert float(found.losses["commitment"]) == float(plain.losses["commitment"])


def test_residual_codes_equal_those_of_vector_quantize_pytorch() -> None:
    """With the same codebooks: ids, sums and commitment losses of a training step."""
    peers = pytest.importorskip("vector_quantize_pytorch")
    config = VQConfig(size=16, codebook="ema", beta=1.0)
    quantizer = built(ResidualConfig(config, levels=3)).train()
    peer = peers.ResidualVQ(dim=6, codebook_size=16, num_quantizers=3, rotation_trick=False).train()
    for theirs, ours in zip(peer.layers, quantizer.quantizers, strict=True):
        theirs._codebook.embed.data.copy_(ours.codes[None])
        theirs._codebook.embed_avg.data.copy_(ours.codes[None])
    z = latents(2, 6, 3, 4)
    expected, ids, losses = peer(z.flatten(2).transpose(1, 2))
    found = quantizer(z)
    assert torch.equal(found.ids.flatten(2).movedim(1, 2), ids)
    torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-6)
    assert float(found.losses["commitment"]) == pytest.approx(float(losses.sum()), abs=1e-6)


def test_grouped_codes_equal_those_of_vector_quantize_pytorch() -> None:
    peers = pytest.importorskip("vector_quantize_pytorch")
    config = ResidualConfig(VQConfig(size=16, codebook="ema", beta=1.0), levels=2)
    quantizer = built(ProductConfig(config, groups=2)).train()
    peer = peers.GroupedResidualVQ(
        dim=6, codebook_size=16, num_quantizers=2, groups=2, rotation_trick=False
    ).train()
    for theirs, ours in zip(peer.rvqs, quantizer.quantizers, strict=True):
        for layer, level in zip(theirs.layers, ours.quantizers, strict=True):
            layer._codebook.embed.data.copy_(level.codes[None])
            layer._codebook.embed_avg.data.copy_(level.codes[None])
    z = latents(2, 6, 3, 4)
    expected, ids, losses = peer(z.flatten(2).transpose(1, 2))
    found = quantizer(z)
    theirs = torch.cat(list(ids), -1)  # (groups, B, N, levels) to group-major levels
    assert torch.equal(found.ids.flatten(2).movedim(1, 2), theirs)
    torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-6)
    assert float(found.losses["commitment"]) == pytest.approx(float(losses.sum()), abs=1e-6)


def test_the_loss_of_residual_codes_has_the_gradient_of_its_value() -> None:
    """The commitment, whose gradient is not straight-through, in float64."""
    quantizer = built(ResidualConfig(VQConfig(size=16), levels=3)).train()
    z = latents(1, 6, 1, 2)

    def commitment(x: Tensor) -> Tensor:
        rest, total = x.double(), 0.0
        for part, ids in zip(quantizer.quantizers, quantizer.assign(z).unbind(1), strict=True):
            codes = part.embed(ids).double().detach()
            total = total + 0.25 * F.mse_loss(rest, codes)
            rest = rest - codes
        return total

    leaf = z.clone().requires_grad_()
    quantizer(leaf).losses["commitment"].backward()
    exact = torch.autograd.grad(commitment(other := z.clone().requires_grad_()), other)[0]
    torch.testing.assert_close(leaf.grad, exact, rtol=1e-5, atol=1e-7)
    assert torch.autograd.gradcheck(commitment, z.double().requires_grad_())


def test_bad_input_gets_a_sentence() -> None:
    base = VQConfig(size=16)
    with pytest.raises(ValueError, match="groups must divide the 6 channels of the latents, got 4"):
        ProductConfig(base, groups=4).build(6)
    for config, words in (
        ({"levels": 0}, "levels must be 1 or more, got 0"),
        ({"dropout": 1.5}, r"dropout must be in \[0, 1\], got 1.5"),
        ({"beam": 0}, "beam must be 1 or more, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            ResidualConfig(base, **config)
    for leveled in (ProductConfig(base), ResidualConfig(base)):
        with pytest.raises(ValueError, match="has several ids per position and cannot be the base"):
            ResidualConfig(leveled).build(6)
    with pytest.raises(ValueError, match="groups must be 1 or more, got 0"):
        ProductConfig(base, groups=0)
    for quantizer in (built(ResidualConfig(base, levels=2)), built(ProductConfig(base))):
        with pytest.raises(ValueError, match=r"latents must be \(B, 6, h, w\), got \(2, 5, 3, 3\)"):
            quantizer(latents(2, 5, 3, 3))
        with pytest.raises(ValueError, match=r"n from 1 to 2 levels, got \(1, 3, 2, 2\)"):
            quantizer.embed(torch.zeros(1, 3, 2, 2, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"n from 1 to 2 levels, got \(1, 2, 2\)"):
            quantizer.embed(torch.zeros(1, 2, 2, dtype=torch.int64))

"""SimVQ, NSVQ, Gumbel-VQ, FSQ, LFQ and IBQ against their formulas, in float64."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from core.quantizers import (
    BSQConfig,
    FSPConfig,
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    SimVQConfig,
)
from core.quantizers.base import to_grid, to_rows
from core.quantizers.lfq import joint_probabilities
from core.quantizers.nsvq import non_stationary_loss
from core.quantizers.ops import replace_by_copies, rotation_trick
from core.quantizers.tiled import lookup


def make(config, dim: int = 6):
    torch.manual_seed(2)
    return config.build(dim), torch.randn(3, dim, 4, 5, requires_grad=True)


def total_of(out, towards: torch.Tensor) -> torch.Tensor:
    return (out.z * towards).sum() + sum(out.losses.values())


def same_gradients(quantizer, z, twin, rows) -> None:
    """Compare gradients of latents and of every parameter, float32 against float64."""
    torch.testing.assert_close(to_rows(z.grad).double(), rows.grad, rtol=2e-4, atol=2e-6)
    for (name, mine), theirs in zip(quantizer.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(
            mine.grad.double(), theirs.grad, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def twin_of(config, quantizer, z):
    twin = config.build(6).double()
    twin.load_state_dict(quantizer.state_dict())
    return twin, to_rows(z).detach().double().requires_grad_()


def test_simvq_projects_frozen_codes():
    config = SimVQConfig(size=20)
    quantizer, z = make(config)
    twin, rows = twin_of(config, quantizer, z)
    towards = torch.randn(3, 6, 4, 5)
    out = quantizer(z)
    total_of(out, towards).backward()

    codes = twin.frozen @ twin.projection.weight.T + twin.projection.bias
    gaps = (rows[:, None] - codes[None]).square().sum(-1)
    assert torch.equal(out.ids.flatten(), gaps.argmin(1))
    chosen = codes[gaps.argmin(1)]
    loss = 0.25 * (rows - chosen.detach()).square().mean()
    loss = loss + (rows.detach() - chosen).square().mean()
    ((rows * to_rows(towards).double()).sum() + loss).backward()
    same_gradients(quantizer, z, twin, rows)
    assert "frozen" not in dict(quantizer.named_parameters())


def test_simvq_with_the_rotation_trick():
    quantizer, z = make(SimVQConfig(size=20, estimator="rotation"))
    towards = torch.randn(3, 6, 4, 5)
    out = quantizer(z)
    assert torch.equal(out.z, quantizer.embed(out.ids))
    (out.z * towards).sum().backward()
    rows = to_rows(z).detach().requires_grad_()
    rotated = rotation_trick(rows, quantizer.codebook()[out.ids.flatten()].detach())
    (rotated * to_rows(towards)).sum().backward()
    torch.testing.assert_close(to_rows(z.grad), rows.grad)
    with pytest.raises(ValueError, match="estimator"):
        SimVQConfig(estimator="rotated")


def test_simvq_decodes_ids_from_the_projected_codes():
    quantizer, z = make(SimVQConfig(size=20))
    quantizer.eval()
    out = quantizer(z)
    projected = quantizer.projection(quantizer.frozen)[out.ids.flatten()]
    torch.testing.assert_close(to_rows(quantizer.embed(out.ids)), projected)
    raw = quantizer.frozen[out.ids.flatten()]
    assert (to_rows(quantizer.embed(out.ids)) - raw).abs().max() > 0.1


def test_simvq_moves_every_code_in_a_step():
    quantizer, z = make(SimVQConfig(size=50))
    before = quantizer.codebook().detach().clone()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    out = quantizer(z)
    sum(out.losses.values()).backward()
    optimizer.step()
    assert ((quantizer.codebook() - before).abs().sum(1) > 0).all()


@pytest.mark.parametrize("tau", [0.35, 5.0])
def test_non_stationary_loss_is_the_formula_under_autograd(tau, monkeypatch):
    monkeypatch.setattr(lookup, "SOFT_TILE", 1)  # tiles of 8 rows
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(70, 4, dtype=torch.float64, generator=draw)
    codes = torch.randn(19, 4, dtype=torch.float64, generator=draw).requires_grad_()
    gaps = (rows[:, None] - codes[None]).square().sum(-1)
    ids = gaps.argmin(1)
    p = (-gaps / tau).softmax(1).detach()
    others = 1 - F.one_hot(ids, 19)
    dense = (others * p * gaps).sum() / (70 * 4)
    lean = non_stationary_loss(codes, rows, ids, tau)
    assert float(lean.detach()) == pytest.approx(float(dense.detach()), rel=1e-12)
    mine, theirs = (torch.autograd.grad(3 * x, codes)[0] for x in (lean, dense))
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)


def test_nsvq_losses_and_gradients():
    config = NSVQConfig(size=20)
    quantizer, z = make(config)
    twin, rows = twin_of(config, quantizer, z)
    towards = torch.randn(3, 6, 4, 5)
    out = quantizer(z)
    total_of(out, towards).backward()
    gaps = (rows.detach()[:, None] - twin.codes[None]).square().sum(-1)
    ids = gaps.argmin(1)
    assert torch.equal(out.ids.flatten(), ids)
    chosen, count = twin.codes[ids], rows.numel()
    p = (-gaps / 0.35).softmax(1).detach()
    loss = (chosen - rows.detach()).square().sum() / count
    loss = loss + 0.25 * (rows - chosen.detach()).square().sum() / count
    loss = loss + 0.1 * ((1 - F.one_hot(ids, 20)) * p * gaps).sum() / count
    ((rows * to_rows(towards).double()).sum() + loss).backward()
    same_gradients(quantizer, z, twin, rows)


def test_nsvq_draws_a_share_of_its_codes_from_its_softmax():
    quantizer, z = make(NSVQConfig(size=20, mask_ratio=0.4, tau=2.0))
    plain, _ = make(NSVQConfig(size=20, tau=2.0))
    out, exact = quantizer(z, generator=torch.Generator().manual_seed(0)), plain(z)
    assert out.mask.sum((1, 2)).tolist() == [8, 8, 8]  # of 20 positions each
    assert torch.equal(out.ids[~out.mask], exact.ids[~out.mask])
    assert (out.ids != exact.ids).any()
    # The decoder gets the drawn codes; the losses use the nearest codes.
    codes = quantizer.codebook()
    torch.testing.assert_close(to_rows(out.z), codes[out.ids.flatten()])
    assert {k: float(v.detach()) for k, v in out.losses.items()} == {
        k: float(v.detach()) for k, v in exact.losses.items()
    }
    moved = (codes[out.ids.flatten()] - codes[exact.ids.flatten()]).square().sum(1)
    torch.testing.assert_close(out.perturbation.flatten(), moved)
    # The draws follow the softmax.
    one = z.detach()[:1, :, :1, :1].expand(1, -1, 100, 100)
    drawn = quantizer(one, mask_ratio=1.0, generator=torch.Generator().manual_seed(1)).ids
    share = torch.bincount(drawn.flatten(), minlength=20) / 10_000
    gaps = (one[0, :, 0, 0] - codes).double().square().sum(1)
    torch.testing.assert_close(share.double(), (-gaps / 2).softmax(0), rtol=0, atol=0.02)
    quantizer.eval()
    assert quantizer(z).mask is None and torch.equal(quantizer(z).ids, exact.ids)


def test_nsvq_with_a_frozen_encoder_has_only_the_codebook_loss():
    quantizer, z = make(NSVQConfig(size=20, epoch=1, replacement_warmup=0))
    quantizer.encoder_frozen = True
    out = quantizer(z.detach())
    assert set(out.losses) == {"codebook"}
    assert quantizer.update(z.detach(), out.ids) is None
    assert not quantizer.updates


def test_nsvq_replaces_codes_not_used_for_an_epoch():
    config = NSVQConfig(size=40, epoch=3, replacement_warmup=2, replacement_noise=1e-3)
    quantizer, z = make(config)
    with torch.no_grad():
        quantizer.codes[30:] += 100
    replaced = []
    for step in range(9):
        before = quantizer.codes.detach().clone()
        codes = quantizer.update(z.detach(), quantizer.assign(z))
        replaced.append(codes)
        if codes is None:
            assert torch.equal(quantizer.codes, before), step
    # two epochs of warm-up, then at the end of the third
    assert [codes is not None for codes in replaced] == [False] * 8 + [True]
    dead = replaced[-1].tolist()
    assert set(range(30, 40)) <= set(dead)
    sources = [code for code in range(40) if code not in dead]
    gaps = (quantizer.codes[dead][:, None] - before[sources][None]).norm(dim=-1)
    nearest = gaps.min(1).values
    assert (nearest > 0).all()
    assert (nearest < 6e-3).all()  # noise of 0.001 in 6 dimensions
    assert not quantizer.uses.any()


def test_nsvq_copies_codes_in_proportion_to_their_use():
    quantizer, _ = make(NSVQConfig(size=402, epoch=1, replacement_warmup=0, replacement_noise=0))
    with torch.no_grad():
        quantizer.codes[0], quantizer.codes[1] = 1.0, -1.0
    ids = torch.tensor([0] * 30 + [1] * 10).view(1, 5, 8)
    assert len(quantizer.update(torch.zeros(1, 6, 5, 8), ids)) == 400
    copies = int((quantizer.codes[2:] == 1).all(1).sum())
    assert copies + int((quantizer.codes[2:] == -1).all(1).sum()) == 400
    assert 270 < copies < 330


def test_gumbel_losses_and_gradients(monkeypatch):
    monkeypatch.setattr(lookup, "SOFT_TILE", 1)
    config = GumbelConfig(size=20, kl_weight=0.3)
    quantizer, z = make(config)
    quantizer.schedule(0.5)
    twin, rows = twin_of(config, quantizer, z)
    towards = torch.randn(3, 6, 4, 5)
    out = quantizer(z, generator=torch.Generator().manual_seed(4))
    total_of(out, towards).backward()

    draw = torch.Generator().manual_seed(4)
    torch.rand(3, 20, generator=draw)  # the mask's
    seed, empty = lookup.draw_seed(draw, z.device), torch.empty(60, 20)
    noise = torch.cat(
        [lookup.tile_noise(empty[t], seed, t.start) for t in lookup.row_tiles(60, 20)]
    )
    logits = twin.head(rows)
    drawn = (logits + noise.double()).argmax(1)
    assert torch.equal(out.ids.flatten(), drawn)
    soft = ((logits + noise.double()) / 0.4500005).softmax(1)
    hard = F.one_hot(drawn, 20).double()
    z_q = hard @ twin.codes + (soft - soft.detach()) @ twin.codes.detach()
    q = logits.softmax(1)
    kl = 0.3 * (q * (20 * q + 1e-10).log()).sum(1).mean()
    assert float(out.losses["kl"].detach()) == pytest.approx(float(kl.detach()), rel=1e-4)
    ((z_q * to_rows(towards).double()).sum() + kl).backward()
    same_gradients(quantizer, z, twin, rows)


def test_gumbel_temperature_falls_along_a_cosine():
    quantizer, z = make(GumbelConfig(size=20, temperature=1.0, last_temperature=0.1))
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        quantizer.schedule(progress)
        seen.append(quantizer.temperature)
    wanted = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t)) for t in (0, 0.25, 0.5, 1)]
    assert seen == pytest.approx(wanted)
    quantizer.eval()
    assert torch.equal(quantizer(z).ids, quantizer.assign(z))  # argmax, no draw


def test_gumbel_at_its_last_temperature_stays_finite():
    quantizer, z = make(GumbelConfig(size=20))
    quantizer.schedule(1.0)
    total_of(quantizer(z), torch.ones(3, 6, 4, 5)).backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (4, 3), (2,)])
def test_fsq_uses_its_whole_grid_and_nothing_else(levels):
    quantizer, _ = make(FSQConfig(levels))
    assert quantizer.size == math.prod(levels)
    sides = [range(-(n // 2), n - n // 2) for n in levels]
    assert {tuple(row) for row in quantizer.grid().tolist()} == set(product(*sides))
    with torch.no_grad():
        for parameter in quantizer.to_levels.parameters():
            parameter.mul_(30)
    rounded = quantizer.bound(torch.randn(4000, 6)).round()
    for column, side in zip(rounded.t(), sides, strict=True):
        assert set(column.int().tolist()) == set(side)
    rows = torch.randn(200, 6)
    assert torch.equal(quantizer.grid()[quantizer.assign_rows(rows)], quantizer.bound(rows).round())


@pytest.mark.parametrize("config", [FSQConfig((8, 5, 3)), FSPConfig((8, 5, 3))])
def test_grids_decode_ids_without_their_codebook(config, monkeypatch):
    """A step does not cost K codes, and each id still stands for its row of the codebook."""
    quantizer = config.build(6)
    codes, ids = quantizer.codebook(), torch.randint(120, (2, 3, 4))
    monkeypatch.delattr(type(quantizer), "codebook")
    torch.testing.assert_close(
        quantizer.embed(ids).permute(0, 2, 3, 1), codes[ids], rtol=0, atol=1e-6
    )
    z = torch.randn(2, 6, 3, 4)
    quantizer(z)
    out = quantizer.eval()(z)
    assert torch.equal(out.z, quantizer.embed(quantizer.assign(z)))


def test_fsq_bound_is_that_of_the_paper():
    quantizer, _ = make(FSQConfig((8, 5)))
    rows = torch.randn(50, 6)
    x = quantizer.to_levels(rows).double()
    half = [7 * 1.001 / 2, 4 * 1.001 / 2]
    even = torch.tanh(x[:, 0] + math.atanh(0.5 / half[0])) * half[0] - 0.5
    odd = torch.tanh(x[:, 1]) * half[1]
    wanted = torch.stack([even, odd], 1).float()
    torch.testing.assert_close(quantizer.bound(rows), wanted, rtol=1e-5, atol=1e-5)


def test_fsq_gradient_passes_the_rounding():
    config = FSQConfig((8, 5, 3))
    quantizer, z = make(config)
    twin, rows = twin_of(config, quantizer, z)
    towards = torch.randn(3, 6, 4, 5)
    out = quantizer(z)
    assert not out.losses
    (out.z * towards).sum().backward()
    bounded = twin.bound(rows)
    rounded = bounded + (bounded.round() - bounded).detach()
    scaled = rounded / torch.tensor([4, 2, 1])
    assert torch.equal(
        scaled.detach().float(), (quantizer.grid()[out.ids.flatten()] / torch.tensor([4, 2, 1]))
    )
    (twin.from_levels(scaled) * to_rows(towards).double()).sum().backward()
    same_gradients(quantizer, z, twin, rows)


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_lfq_mean_use_by_halves_is_the_mean_softmax(bits):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(30, bits, dtype=torch.float64, generator=draw)
    half = bits // 2
    low, high = joint_probabilities(logits[:, :half]), joint_probabilities(logits[:, half:])
    codes = torch.tensor(list(product((-1.0, 1.0), repeat=bits))).double().flip(1)
    wanted = (logits @ codes.T / 2).softmax(1)
    torch.testing.assert_close((high.T @ low).flatten() / 30, wanted.mean(0))
    torch.testing.assert_close(joint_probabilities(logits), wanted)


def test_lfq_losses_and_gradients(monkeypatch):
    monkeypatch.setattr(lookup, "SOFT_TILE", 1)
    config = LFQConfig(size=16, temperature=0.7)
    quantizer, z = make(config)
    twin, rows = twin_of(config, quantizer, z)
    towards = torch.randn(3, 6, 4, 5)
    out = quantizer(z)
    total_of(out, towards).backward()
    codes = torch.tensor(list(product((-1.0, 1.0), repeat=4))).double().flip(1)
    numbers = twin.to_bits(rows)
    signs = numbers.detach().sign()
    assert torch.equal(codes[out.ids.flatten()], signs)
    p = (2 * numbers @ codes.T / 0.7).softmax(1)
    each = -(p * p.log()).sum(1).mean()
    pooled = -(p.mean(0) * p.mean(0).log()).sum()
    entropy = 0.1 * (each - pooled)
    assert float(out.losses["entropy"].detach()) == pytest.approx(float(entropy.detach()), abs=1e-6)
    z_q = twin.from_bits(signs + numbers - numbers.detach())
    loss = 0.25 * (numbers - signs).square().mean() + entropy
    ((z_q * to_rows(towards).double()).sum() + loss).backward()
    same_gradients(quantizer, z, twin, rows)


def test_ibq_losses_and_gradients(monkeypatch):
    monkeypatch.setattr(lookup, "SOFT_TILE", 1)
    config = IBQConfig(size=20, temperature=0.5)
    quantizer, z = make(config)
    twin, rows = twin_of(config, quantizer, z)
    towards = torch.randn(3, 6, 4, 5)
    out = quantizer(z)
    total_of(out, towards).backward()
    logits = rows @ twin.codes.T
    assert torch.equal(out.ids.flatten(), logits.argmax(1))
    soft, hard = logits.softmax(1), F.one_hot(logits.argmax(1), 20).double()
    # The soft part reaches the codes through the logits; the hard part only the chosen codes.
    z_q = hard @ twin.codes + (soft - soft.detach()) @ twin.codes.detach()
    chosen, p = hard @ twin.codes, (logits / 0.5).softmax(1)
    loss = (z_q - rows).square().mean() + (chosen - rows.detach()).square().mean()
    loss = loss + 0.25 * (chosen.detach() - rows).square().mean()
    pooled = -(p.mean(0) * p.mean(0).log()).sum()
    loss = loss + 0.05 * (-(p * p.log()).sum(1).mean() - pooled)
    ((z_q * to_rows(towards).double()).sum() + loss).backward()
    same_gradients(quantizer, z, twin, rows)
    assert (quantizer.codes.grad.abs().sum(1) > 0).all()  # every code, chosen or not


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (NSVQConfig, {"tau": 0.0}, "tau"),
        (NSVQConfig, {"epoch": 0}, "epoch"),
        (NSVQConfig, {"alpha": -1.0}, "alpha"),
        (GumbelConfig, {"temperature": 0.0}, "temperature"),
        (GumbelConfig, {"mask_ratio": 2.0}, "mask_ratio"),
        (FSQConfig, {"levels": (5, 1)}, "levels"),
        (FSQConfig, {"size": 1024}, "product"),
        (LFQConfig, {"size": 1000}, "power of two"),
        (IBQConfig, {"temperature": 0.0}, "temperature"),
    ],
)
def test_wrong_settings_are_named(kind, settings, words):
    with pytest.raises(ValueError, match=words):
        kind(**settings)


def test_rows_and_grid_are_inverse():
    z = torch.randn(2, 3, 4, 5)
    assert torch.equal(to_grid(to_rows(z), z), z)


def test_nsvq_ranks_codes_by_the_weights_of_its_loss() -> None:
    quantizer, _ = make(NSVQConfig(size=7, tau=0.25), dim=3)
    rows = torch.randn(5, 3)
    squared = (rows[:, None].double() - quantizer.codebook().double()).square().sum(2)
    torch.testing.assert_close(
        quantizer.logits(rows).double(), -squared / 0.25, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("config", [LFQConfig(size=16), BSQConfig(size=16)])
def test_a_number_of_zero_has_the_same_bit_everywhere(config) -> None:
    quantizer, _ = make(config, dim=4)
    z = torch.zeros(1, 4, 2, 2)
    with torch.no_grad():
        for layer in quantizer.modules():
            if getattr(layer, "bias", None) is not None:
                layer.bias.zero_()
        assert not quantizer.projections(to_rows(z)).any()
        assert torch.equal(quantizer.eval()(z).ids, quantizer.assign(z))
        assert torch.equal(quantizer.train()(z).ids, quantizer.assign(z))


def test_fsp_has_the_unbiased_variance_of_two_latents() -> None:
    quantizer, _ = make(FSPConfig(), dim=5)
    numbers = torch.randn(2, 5, dtype=torch.float64)
    found = quantizer._losses(numbers)["variance"]
    wanted = (numbers.var(0, correction=1) - 0.8225).square().mean()
    torch.testing.assert_close(found, quantizer.config.variance_weight * wanted)


def test_copies_of_codes_follow_the_seed_alone() -> None:
    codes, uses = torch.randn(6, 3), torch.tensor([1.0, 2, 0, 3, 0, 1], dtype=torch.float64)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(codes.clone())
        replace_by_copies(found[-1], torch.tensor([2, 4]), uses, 0.1, seed=7)
    assert torch.equal(*found)

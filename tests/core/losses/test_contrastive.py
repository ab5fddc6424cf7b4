"""The contrastive losses against Eq. 2 and Eq. 3, term by term in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from core.losses.contrastive import contrastive_loss, on_token_grid, probabilistic_contrastive_loss

TAU = 0.2


def features(seed: int = 0, batch: int = 2, positions: int = 6):
    draw = torch.Generator().manual_seed(seed)
    shape = (batch, positions, 5)
    y, z = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    weights = torch.rand(batch, positions, generator=draw, dtype=torch.float64) + 0.1
    return F.normalize(y, dim=-1), F.normalize(z, dim=-1), weights


def equation_2(y, z) -> float:
    """Return -(1/L) sum_i log e^{y_i.z_i/t} / (e^{y_i.z_i/t} + sum_{j!=i} e^{y_i.z_j/t})."""
    length, total = len(y), 0.0
    for i in range(length):
        positive = math.exp(float(y[i] @ z[i]) / TAU)
        negatives = sum(math.exp(float(y[i] @ z[j]) / TAU) for j in range(length) if j != i)
        total -= math.log(positive / (positive + negatives)) / length
    return total


def equation_3(y, z, w) -> float:
    """Return Eq. 3.

    -sum_i log w'_i e^{y_i.z_i/t} / (w'_i e^{y_i.z_i/t} + (1/L) sum_{j!=i} e^{y_i.z_j/t})
    """
    length, total = len(y), 0.0
    share = w / w.sum()
    for i in range(length):
        positive = float(share[i]) * math.exp(float(y[i] @ z[i]) / TAU)
        others = [math.exp(float(y[i] @ z[j]) / TAU) for j in range(length) if j != i]
        total -= math.log(positive / (positive + sum(others) / length))
    return total


def test_contrastive_loss_is_equation_2():
    y, z, _ = features()
    wanted = sum(equation_2(y[b], z[b]) for b in range(2)) / 2
    assert float(contrastive_loss(y, z, TAU)) == pytest.approx(wanted, rel=1e-12)


def test_probabilistic_loss_is_equation_3():
    y, z, w = features()
    mine = probabilistic_contrastive_loss(y, z, w, tau=TAU, eps=0.0, reduction="sum")
    wanted = sum(equation_3(y[b], z[b], w[b]) for b in range(2)) / 2
    assert float(mine) == pytest.approx(wanted, rel=1e-12)


def test_even_weights_give_the_plain_loss():
    y, z, w = features()
    even = probabilistic_contrastive_loss(y, z, torch.ones_like(w), tau=TAU, eps=0.0)
    none = probabilistic_contrastive_loss(y, z, torch.zeros_like(w), tau=TAU, eps=0.0)
    plain = float(contrastive_loss(y, z, TAU))
    assert float(even) == pytest.approx(plain, rel=1e-12)
    assert float(none) == pytest.approx(plain, rel=1e-12)


def test_a_larger_perturbation_pulls_less():
    y, z, _ = features(batch=1)
    pulls = []
    for weight in (0.5, 1.0, 4.0):
        w = torch.ones(1, 6, dtype=torch.float64)
        w[0, 2] = weight
        mask = torch.zeros(1, 6, dtype=torch.bool)
        mask[0, 2] = True
        leaf = z.clone().requires_grad_()
        probabilistic_contrastive_loss(y, leaf, w, mask, tau=TAU, eps=0.0).backward()
        pulls.append(-float(leaf.grad[0, 2] @ y[0, 2]))
    assert pulls[0] > pulls[1] > pulls[2] > 0


def test_only_positions_of_the_mask_count():
    y, z, w = features()
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 1] = mask[1, 4] = True
    mine = probabilistic_contrastive_loss(y, z, w, mask, tau=TAU, eps=0.0)
    terms = []
    for b, i in ((0, 1), (1, 4)):
        share = w[b] / w[b].sum()
        logits = (y[b, i] @ z[b].T) / TAU
        logits[i] += torch.log(6 * share[i])
        terms.append(float(torch.logsumexp(logits, 0) - logits[i]))
    assert float(mine) == pytest.approx(sum(terms) / 2, rel=1e-12)


def test_only_the_reconstruction_gets_a_gradient():
    y, z, w = (x.requires_grad_() for x in features())
    probabilistic_contrastive_loss(y, z, w).backward()
    assert y.grad is None
    assert w.grad is None
    assert z.grad.abs().sum() > 0


def test_zero_perturbations_and_empty_masks_stay_finite():
    y, z, w = features()
    w[0] = 0
    mask = torch.zeros(2, 6, dtype=torch.bool)
    for chosen in (None, mask):
        leaf = z.clone().requires_grad_()
        loss = probabilistic_contrastive_loss(y, leaf, w, chosen)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_without_a_drawn_code_the_loss_is_equation_2(reduction):
    """At a mask ratio of 0 the pull stays: it is that of the plain loss, whatever eps is."""
    y, z, _ = features()
    nothing = torch.zeros(2, 6, dtype=torch.float64)
    z.requires_grad_()
    mine = probabilistic_contrastive_loss(
        y, z, nothing, nothing.bool(), tau=TAU, reduction=reduction
    )
    plain = contrastive_loss(y, z, TAU) * (6 if reduction == "sum" else 1)
    torch.testing.assert_close(mine, plain, rtol=1e-12, atol=0)
    for a, b in zip(torch.autograd.grad(mine, z), torch.autograd.grad(plain, z), strict=True):
        torch.testing.assert_close(a, b)


def test_features_are_averaged_over_the_area_of_a_token():
    fine = torch.randn(2, 3, 8, 8)
    same, coarse = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 2, 2)
    grids = on_token_grid([fine, same, coarse], 4, 4)
    assert [tuple(x.shape) for x in grids] == [(2, 16, 3), (2, 16, 4)]  # coarse: left out
    block = F.normalize(fine[1, :, 2:4, 6:8].mean((1, 2)), dim=0)
    torch.testing.assert_close(grids[0][1, 1 * 4 + 3], block)
    torch.testing.assert_close(grids[1][0, 9], F.normalize(same[0, :, 2, 1], dim=0))


def test_maps_of_half_the_grid_are_left_out_and_those_of_the_grid_are_kept() -> None:
    sides = {(4, 4): False, (5, 4): False, (4, 5): False, (5, 5): True, (8, 8): True}
    for (rows, columns), kept in sides.items():
        found = on_token_grid([torch.randn(1, 3, rows, columns)], 8, 8)
        assert len(found) == kept, (rows, columns)


@pytest.mark.parametrize(
    "shape", [(8, 6), (16, 6), (8, 12), (4, 3), (5, 12), (8, 13), (19, 6), (8, 5), (16, 4), (6, 7)]
)
def test_maps_are_averaged_over_tokens_or_interpolated(shape: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *shape)
    wanted = (
        F.adaptive_avg_pool2d(x, (8, 6))
        if shape[0] >= 8 and shape[1] >= 6
        else F.interpolate(x, (8, 6), mode="bilinear", align_corners=False)
    )
    found = on_token_grid([x], 8, 6)
    if shape == (4, 3):
        assert not found
        return
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found[0], wanted.flatten(2).transpose(1, 2))


def test_one_drawn_position_counts_whole() -> None:
    y, z, w = features(batch=1)
    mask = torch.zeros(1, 6, dtype=torch.bool)
    assert float(probabilistic_contrastive_loss(y, z, w, mask, TAU)) == pytest.approx(
        float(contrastive_loss(y, z, TAU))
    )
    mask[0, 2] = True
    alone = probabilistic_contrastive_loss(y, z, w, mask, TAU, eps=0.0)
    share = w[0] / w[0].sum()
    logits = y[0, 2] @ z[0].T / TAU
    logits[2] += torch.log(6 * share[2])
    assert float(alone) == pytest.approx(float(logits.logsumexp(0) - logits[2]), rel=1e-9)


def test_the_sum_over_a_mask_is_the_sum_of_its_terms() -> None:
    y, z, w = features()
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 1] = mask[0, 3] = mask[1, 4] = True
    found = probabilistic_contrastive_loss(y, z, w, mask, TAU, eps=0.0, reduction="sum")
    total = 0.0
    for b, i in mask.nonzero().tolist():
        share = w[b] / w[b].sum()
        logits = y[b, i] @ z[b].T / TAU
        logits[i] += torch.log(6 * share[i])
        total += float(logits.logsumexp(0) - logits[i])
    assert float(found) == pytest.approx(total / 2, rel=1e-9)
    whole = torch.ones(2, 6, dtype=torch.bool)
    for eps in (0.0, 0.3):
        a = probabilistic_contrastive_loss(y, z, w, whole, TAU, eps=eps, reduction="sum")
        b = probabilistic_contrastive_loss(y, z, w, None, TAU, eps=eps, reduction="sum")
        assert float(a) == pytest.approx(float(b), rel=1e-12)


@pytest.mark.parametrize("drawn", [None, True])
def test_a_picture_without_replaced_tokens_has_the_terms_of_equation_2(drawn: bool | None) -> None:
    """Beside one that has some, and whatever eps is."""
    y, z, w = features()
    w[0] = 0
    mask = None if drawn is None else torch.ones(2, 6, dtype=torch.bool)
    both = probabilistic_contrastive_loss(y, z, w, mask, TAU, eps=0.2, reduction="sum")
    other = probabilistic_contrastive_loss(y[1:], z[1:], w[1:], None, TAU, eps=0.2, reduction="sum")
    plain = 6 * contrastive_loss(y[:1], z[:1], TAU)
    torch.testing.assert_close(both, (plain + other) / 2, rtol=1e-12, atol=0)

"""Vector quantization: codes, losses and gradients against the formulas, in float64."""

from __future__ import annotations

import pytest
import torch

from core.quantizers import VQConfig
from core.quantizers.base import to_rows
from core.quantizers.ops import kmeans, rotation_trick


def make(config: VQConfig | None = None, dim: int = 6, spread: float = 1.0, seed: int = 0):
    torch.manual_seed(seed)
    quantizer = (config or VQConfig(size=20)).build(dim)
    with torch.no_grad():
        quantizer.codes.normal_(0, spread)
    return quantizer, torch.randn(3, dim, 4, 5)


def brute(rows: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return (rows.double()[:, None] - codes.double()[None]).square().sum(-1).argmin(1)


def test_nearest_code_in_double_precision():
    quantizer, z = make()
    wanted = brute(to_rows(z), quantizer.codes).view(3, 4, 5)
    assert torch.equal(quantizer.assign(z), wanted)
    assert torch.equal(quantizer(z).ids, wanted)


def test_losses_put_beta_on_the_commitment_term():
    quantizer, z = make(VQConfig(size=20, beta=0.25))
    z.requires_grad_()
    out = quantizer(z)
    gap = to_rows(z).double() - quantizer.codes.double()[out.ids.flatten()]
    mean_square = float(gap.detach().square().mean())
    assert float(out.losses["commitment"]) == pytest.approx(0.25 * mean_square, rel=1e-5)
    assert float(out.losses["codebook"]) == pytest.approx(mean_square, rel=1e-5)
    # the commitment moves the encoder alone, the codebook loss the codes alone
    sum(out.losses.values()).backward()
    towards = 2 * 0.25 * gap / gap.numel()
    torch.testing.assert_close(to_rows(z.grad).double(), towards, rtol=1e-4, atol=1e-8)
    pull = torch.zeros(20, 6, dtype=torch.float64).index_add_(
        0, out.ids.flatten(), -2 * gap.detach() / gap.numel()
    )
    torch.testing.assert_close(quantizer.codes.grad.double(), pull, rtol=1e-4, atol=1e-8)


def test_straight_through_gradient_is_the_identity():
    quantizer, z = make()
    z.requires_grad_()
    towards = torch.randn_like(z)
    (quantizer(z).z * towards).sum().backward()
    assert torch.equal(z.grad, towards)
    assert quantizer.codes.grad is None


def test_exponential_moving_averages_follow_their_latents():
    quantizer, z = make(VQConfig(size=4, codebook="ema", decay=0.9), dim=2)
    rows, before = to_rows(z).double(), quantizer.sums.double().clone()
    weights = quantizer.weights.double().clone()
    ids = quantizer.assign(z)
    quantizer.update(z, ids)
    for code in range(4):
        mine = rows[ids.flatten() == code]
        weights[code] = 0.9 * weights[code] + 0.1 * len(mine)
        before[code] = 0.9 * before[code] + 0.1 * mine.sum(0)
    total = weights.sum()
    smooth = (weights + 1e-5) / (total + 4e-5) * total
    torch.testing.assert_close(
        quantizer.codes.double(), before / smooth[:, None], rtol=1e-5, atol=1e-6
    )
    assert "codebook" not in quantizer(z).losses


def test_dead_codes_restart_on_latents_of_the_batch():
    quantizer, z = make(VQConfig(size=50, restart_below=0.5, decay=0.5), spread=100.0)
    ids = quantizer.assign(z)
    used = set(ids.flatten().tolist())
    kept = {code: quantizer.codes[code].clone() for code in used}
    replaced = None
    for _ in range(3):  # the average of an unused code halves from 1: 0.5, 0.25
        replaced = quantizer.update(z, ids)
        if replaced is not None:
            break
    assert replaced is not None
    assert not used & set(replaced.tolist())
    rows = to_rows(z)
    for code in replaced.tolist():
        assert (rows - quantizer.codes[code]).abs().sum(1).min() == 0
    for code, value in kept.items():
        assert torch.equal(quantizer.codes[code], value)
    assert len(torch.unique(quantizer.codes[replaced], dim=0)) == len(replaced)


def test_restart_is_a_function_of_the_state():
    first, z = make(VQConfig(size=50, restart_below=0.9, decay=0.5), spread=100.0)
    second, _ = make(VQConfig(size=50, restart_below=0.9, decay=0.5), spread=100.0)
    for quantizer in (first, second):
        for _ in range(3):
            quantizer.update(z, quantizer.assign(z))
        torch.manual_seed(99)  # must have no effect
    assert torch.equal(first.codes, second.codes)


def test_without_restart_dead_codes_stay():
    quantizer, z = make(VQConfig(size=50), spread=100.0)
    before = quantizer.codes.clone()
    assert quantizer.update(z, quantizer.assign(z)) is None
    assert torch.equal(quantizer.codes, before)


def test_codes_are_initialized_with_latents_of_the_first_batch():
    quantizer = VQConfig(size=50, start="data").build(6)
    quantizer.eval()
    z = torch.randn(3, 6, 4, 5)
    quantizer(z)
    assert quantizer.codes.abs().max() <= 1 / 50  # not initialized in eval mode
    quantizer.train()
    quantizer(z)
    gaps = (quantizer.codes[:, None] - to_rows(z)[None]).abs().sum(-1)
    assert not gaps.min(1).values.any()
    assert len(torch.unique(quantizer.codes, dim=0)) == 50
    before = quantizer.codes.detach().clone()
    quantizer(z + 5)
    assert torch.equal(quantizer.codes, before)


def test_codes_initialized_with_one_latent_differ():
    quantizer, z = VQConfig(size=200, start="data").build(6), torch.randn(3, 6, 4, 5)
    quantizer(z)
    rows = to_rows(z)
    gaps = (quantizer.codes[:, None] - rows[None]).norm(dim=-1).min(1).values
    assert not gaps[:60].any()
    assert (gaps[60:] > 0).all()
    assert len(torch.unique(quantizer.codes, dim=0)) == 200
    assert float(gaps[60:].mean()) < 0.15 * float(rows.std()) * 6**0.5


def test_kmeans_finds_the_centers_of_clusters():
    truth = torch.tensor([[10.0, 0.0], [0.0, 10.0], [-10.0, -10.0]])
    draw = torch.Generator().manual_seed(0)
    rows = truth.repeat(30, 1) + 0.1 * torch.randn(90, 2, generator=draw)
    centers = kmeans(rows, rows[:3].clone(), 10)
    wanted = torch.stack([rows[i::3].mean(0) for i in range(3)])
    torch.testing.assert_close(centers, wanted, rtol=1e-5, atol=1e-5)
    # A center without rows stays where it is.
    far = torch.cat([centers, torch.full((1, 2), 1e3)])
    assert torch.equal(kmeans(rows, far, 3)[3], far[3])


def test_codes_are_initialized_with_kmeans_centers():
    z = torch.randn(3, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = {}
    for start in ("data", "kmeans"):
        quantizer = VQConfig(size=12, start=start).build(6)
        losses[start] = float(quantizer(z).losses["codebook"].detach())
        assert quantizer.started
    assert losses["kmeans"] < 0.8 * losses["data"]
    rows = to_rows(z)
    ids = quantizer.assign(z).flatten()
    for code in torch.unique(ids).tolist():  # ten rounds of k-means nearly converge
        gap = rows[ids == code].mean(0) - quantizer.codes[code]
        assert float(gap.norm().detach()) < 0.5
    before = quantizer.codes.detach().clone()
    quantizer(z + 5)
    assert torch.equal(quantizer.codes, before)


def test_cosine_codes_ignore_length():
    quantizer, z = make(VQConfig(size=20, distance="cosine"))
    z.requires_grad_()
    rows, codes = to_rows(z).detach().double(), quantizer.codes.detach().double()
    similarity = rows @ (codes / codes.norm(dim=1, keepdim=True)).T
    assert torch.equal(quantizer.assign(z).flatten(), similarity.argmax(1))
    assert torch.equal(quantizer.assign(7 * z), quantizer.assign(z))
    torch.testing.assert_close(quantizer.codebook().norm(dim=1), torch.ones(20))
    towards = torch.randn_like(z)
    out = quantizer(z)
    ((out.z * towards).sum() + sum(out.losses.values())).backward()
    leaf, twin = rows.requires_grad_(), codes.requires_grad_()
    unit = leaf / leaf.norm(dim=1, keepdim=True)
    chosen = (twin / twin.norm(dim=1, keepdim=True))[out.ids.flatten()]
    total = (unit * to_rows(towards).double()).sum()
    total = total + 0.25 * (unit - chosen.detach()).square().mean()
    (total + (unit.detach() - chosen).square().mean()).backward()
    torch.testing.assert_close(to_rows(z.grad).double(), leaf.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(quantizer.codes.grad.double(), twin.grad, rtol=1e-4, atol=1e-7)


def test_rotation_trick_rotates_the_gradient():
    """Each row's Jacobian is lambda R: it maps e to q, and R is a rotation."""
    draw = torch.Generator().manual_seed(0)
    rows, chosen = torch.randn(2, 7, 4, dtype=torch.float64, generator=draw)
    rows.requires_grad_()
    torch.testing.assert_close(rotation_trick(rows, chosen), chosen)
    matrix = torch.autograd.functional.jacobian(lambda e: rotation_trick(e, chosen).sum(0), rows)
    matrix = matrix.permute(1, 0, 2)  # (7, out, in)
    scale = chosen.norm(dim=1) / rows.detach().norm(dim=1)
    rotation = matrix / scale[:, None, None]
    eye = torch.eye(4, dtype=torch.float64).expand(7, 4, 4)
    torch.testing.assert_close(rotation @ rotation.mT, eye)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(7, dtype=torch.float64))
    # Rows without a direction are returned as they are.
    assert torch.equal(rotation_trick(torch.zeros(1, 4), torch.ones(1, 4)), torch.zeros(1, 4))


def test_rotation_estimator_in_the_quantizer():
    quantizer, z = make(VQConfig(size=20, estimator="rotation"))
    z.requires_grad_()
    towards = torch.randn_like(z)
    out = quantizer(z)
    assert torch.equal(out.z, quantizer.embed(out.ids))
    (gradient,) = torch.autograd.grad((out.z * towards).sum(), z)
    rows = to_rows(z).detach().double().requires_grad_()
    rotated = rotation_trick(rows, quantizer.codes.detach().double()[out.ids.flatten()])
    (wanted,) = torch.autograd.grad((rotated * to_rows(towards).double()).sum(), rows)
    torch.testing.assert_close(to_rows(gradient).double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "at least 1 code"),
        ({"codebook": "kmeans"}, "gradient"),
        ({"decay": 1.0}, "decay"),
        ({"start": "warm"}, "start"),
        ({"distance": "manhattan"}, "distance"),
        ({"estimator": "reinforce"}, "estimator"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        VQConfig(**settings).build(4)


def test_moving_averages_are_smoothed_by_a_hundred_thousandth() -> None:
    """VQ-VAE's appendix A.1, and 1e-5 as the authors' published code has it (Sonnet)."""
    quantizer, _ = make(VQConfig(size=4, codebook="ema", decay=0.5))
    quantizer.weights.copy_(torch.tensor([2e-5, 4e-5, 1.0, 3.0]))
    quantizer.sums.copy_(torch.randn(4, 6) * quantizer.weights[:, None])
    z = torch.randn(1, 6, 1, 2)
    ids = torch.full((1, 1, 2), 3)
    weights = 0.5 * quantizer.weights.double() + 0.5 * torch.tensor([0, 0, 0, 2.0])
    sums = 0.5 * quantizer.sums.double()
    sums[3] += 0.5 * z.double()[0, :, 0].sum(1)
    total = weights.sum()
    smoothed = (weights + 1e-5) / (total + 4e-5) * total
    quantizer.update(z, ids)
    torch.testing.assert_close(
        quantizer.codes.double(), sums / smoothed[:, None], rtol=1e-4, atol=0
    )

"""Reg-VQ against its equations, computed in float64 from the paper's notation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.quantizers import NSVQConfig, RegVQConfig
from core.quantizers.base import to_rows
from core.quantizers.code_prior import gaussian_prior, read_histogram
from core.quantizers.ops import stochastic_mask
from core.quantizers.regvq import prior_divergence
from core.quantizers.tiled.lookup import draw_seed, gumbel_noise, row_tiles, tile_noise


def make(**settings):
    torch.manual_seed(3)
    quantizer = RegVQConfig(**{"size": 12, **settings}).build(5)
    return quantizer, torch.randn(3, 5, 4, 6)


def noise(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.4, 0.7, 1.0])
def test_mask_has_the_exact_ratio_in_every_picture(ratio):
    mask = stochastic_mask(5, 64, ratio, noise(), torch.device("cpu"))
    assert mask.sum(1).tolist() == [64 - math.floor(64 * (1 - ratio) + 1e-9)] * 5
    if 0 < ratio < 1:
        assert len(torch.unique(mask, dim=0)) == 5


def test_mask_is_uniform_over_positions():
    mask = stochastic_mask(4000, 10, 0.4, noise(), torch.device("cpu")).float().mean(0)
    assert (mask - 0.4).abs().max() < 0.04


def test_gumbel_max_draws_from_the_softmax():
    logits = torch.tensor([0.5, -1.0, 2.0]).expand(60_000, 3)
    drawn = (logits + gumbel_noise(logits, noise())).argmax(1)
    share = torch.bincount(drawn, minlength=3) / len(drawn)
    torch.testing.assert_close(share, logits[0].softmax(0), atol=0.01, rtol=0)


def test_prior_divergence_is_equation_1():
    """KL(P_post || uniform) = log K - H(P_post)."""
    use = torch.rand(12, dtype=torch.float64, generator=noise())
    use /= use.sum()
    wanted = sum(p * math.log(p / (1 / 12)) for p in use.tolist())
    assert float(prior_divergence(use)) == pytest.approx(wanted, abs=1e-6)
    entropy = -sum(p * math.log(p) for p in use.tolist())
    assert float(prior_divergence(use)) == pytest.approx(math.log(12) - entropy, abs=1e-6)
    assert float(prior_divergence(torch.full((12,), 1 / 12))) == pytest.approx(0, abs=1e-6)


def test_prior_has_the_documented_slope_at_unused_codes():
    use = torch.zeros(1024, dtype=torch.float64)
    use[0] = 1.0
    use.requires_grad_()
    prior_divergence(use).backward()
    assert float(use.grad[5]) == pytest.approx(math.log(1024 * 1e-8), rel=1e-6)
    assert float(use.grad[0]) == pytest.approx(math.log(1024) + 1, rel=1e-4)


def posterior(quantizer, z: torch.Tensor) -> torch.Tensor:
    """Return the logits (N, K), float64, by the definition of each posterior."""
    rows = to_rows(z).double()
    if quantizer.config.posterior == "head":
        return rows @ quantizer.head.weight.double().T + quantizer.head.bias.double()
    gaps = rows[:, None] - quantizer.codes.double()[None]
    return -math.e * gaps.square().sum(-1)


@pytest.mark.parametrize("kind", ["distance", "head"])
def test_deterministic_part_is_the_argmax_of_the_posterior(kind):
    quantizer, z = make(posterior=kind)
    out = quantizer(z, generator=noise())
    best = posterior(quantizer, z).argmax(1)
    mask, ids = out.mask.flatten(), out.ids.flatten()
    assert torch.equal(ids[~mask], best[~mask])
    assert (ids[mask] != best[mask]).any()
    assert out.mask.sum((1, 2)).tolist() == [24 - math.floor(24 * 0.6)] * 3
    torch.testing.assert_close(
        quantizer.log_posterior(to_rows(z)).double(),
        posterior(quantizer, z).log_softmax(1),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("kind", ["distance", "head"])
def test_perturbation_is_the_distance_of_drawn_and_best_code(kind):
    quantizer, z = make(posterior=kind)
    out = quantizer(z, generator=noise())
    best, codes = posterior(quantizer, z).argmax(1), quantizer.codes.double()
    wanted = (codes[out.ids.flatten()] - codes[best]).square().sum(1)
    torch.testing.assert_close(out.perturbation.flatten().double(), wanted, atol=1e-5, rtol=1e-5)
    assert not out.perturbation.flatten()[~out.mask.flatten()].any()


@pytest.mark.parametrize("tile", [1, 2**20], ids=["8 rows per tile", "one tile"])
@pytest.mark.parametrize("prior", ["uniform", "gaussian"])
@pytest.mark.parametrize("kind", ["distance", "head"])
@pytest.mark.parametrize("scope", ["batch", "image"])
def test_losses_and_gradients_against_float64_autograd(kind, scope, prior, tile, monkeypatch):
    """The whole forward pass in float64: mixed one-hots, straight-through, Eq. 1, commitment."""
    monkeypatch.setattr("core.quantizers.tiled.lookup.SOFT_TILE", tile)
    settings = {"posterior": kind, "prior_scope": scope, "prior_weight": 0.3, "temperature": 0.7}
    settings["prior"] = prior
    quantizer, z = make(**settings)
    z.requires_grad_()
    towards = torch.randn(3, 5, 4, 6, generator=noise(1))
    out = quantizer(z, generator=noise())
    ((out.z * towards).sum() + sum(out.losses.values())).backward()

    # The same noise in the same order, then everything dense and in float64.
    draw, size = noise(), quantizer.size
    mask = stochastic_mask(3, 24, 0.4, draw, torch.device("cpu")).flatten()
    gumbel = torch.zeros(72, size, dtype=torch.float64)
    empty = torch.empty(int(mask.sum()), size)
    seed, tiles = draw_seed(draw, empty.device), row_tiles(len(empty), size)
    gumbel[mask] = torch.cat([tile_noise(empty[t], seed, t.start) for t in tiles]).double()
    twin = RegVQConfig(**{"size": 12, **settings}).build(5).double()
    twin.load_state_dict(quantizer.state_dict())
    rows = to_rows(z).detach().double().requires_grad_()
    codes = twin.codes
    if kind == "head":
        logits = twin.head(rows)
    else:
        gaps = rows[:, None] - codes[None]
        logits = -twin.log_scale.exp() * gaps.square().sum(-1)
    drawn = logits + gumbel
    hard = F.one_hot(drawn.argmax(1), size).double()  # no noise where the mask is 0
    soft = torch.where(mask[:, None], (drawn / 0.7).softmax(1), logits.softmax(1))
    onehot = hard + soft - soft.detach()
    total = (
        (onehot @ codes.detach() + hard @ codes - hard @ codes.detach()) * to_rows(towards).double()
    ).sum()
    use = onehot.view(3, 24, size).mean(1) if scope == "image" else onehot.mean(0, keepdim=True)
    aim = torch.full((12,), 1 / 12).double() if prior == "uniform" else quantizer.prior.double()
    divergence = (use * ((use + 1e-8) / aim).log()).sum(1).mean()
    total = total + 0.3 * divergence
    if kind == "distance":
        nearest = codes.detach()[logits.argmax(1)]
        commitment = 0.25 * (rows - nearest).square().mean()
        total = total + commitment
        torch.testing.assert_close(out.losses["commitment"].double(), commitment, rtol=1e-5, atol=0)
    assert float(out.losses["prior"].detach()) == pytest.approx(
        0.3 * float(divergence.detach()), rel=1e-5, abs=1e-7
    )
    total.backward()
    torch.testing.assert_close(to_rows(z.grad).double(), rows.grad, rtol=2e-4, atol=2e-5)
    for (name, mine), theirs in zip(quantizer.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(
            mine.grad.double(), theirs.grad, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_prior_over_images_cannot_reach_zero_with_few_positions():
    quantizer, z = make(prior_scope="image", prior_weight=1.0, size=96, mask_ratio=0.0)
    floor = math.log(96 / 24)
    assert float(quantizer(z).losses["prior"]) >= floor - 1e-5


def test_every_part_can_be_switched_off():
    quantizer, z = make(prior_weight=0.0, mask_ratio=0.0, commitment=0.0)
    out = quantizer(z, generator=noise())
    assert "prior" not in out.losses
    assert not out.losses["commitment"]
    assert not out.mask.any()
    assert torch.equal(out.ids, quantizer.assign(z))


def test_gaussian_prior_is_centered_and_has_the_given_width():
    p = gaussian_prior(1000, 0.1).double()
    position = torch.arange(1000).double()
    mean = float((p * position).sum())
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    assert mean == pytest.approx(499.5, abs=0.01)
    assert float((p * (position - mean) ** 2).sum()) ** 0.5 == pytest.approx(100, rel=0.03)
    assert float(p.min()) >= 0.99e-6


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_prior_from_a_histogram_is_minimal_at_it(tmp_path, suffix):
    file, counts = tmp_path / f"counts.{suffix}", np.arange(12)
    if suffix == "npy":
        np.save(file, counts)
    else:
        np.savez(file, counts=counts, other=np.zeros(3))
    quantizer, _ = make(prior="histogram", prior_file=file)
    wanted = torch.from_numpy(counts / counts.sum()).float()
    torch.testing.assert_close(quantizer.prior, wanted, atol=1e-3, rtol=0)
    assert float(prior_divergence(quantizer.prior, quantizer.prior)) == pytest.approx(0, abs=1e-5)
    assert float(prior_divergence(torch.full((12,), 1 / 12), quantizer.prior)) > 0.1
    # A checkpoint contains the values and needs no file.
    loaded = RegVQConfig(size=12, prior="histogram").build(5)
    loaded.load_state_dict(quantizer.state_dict())
    assert torch.equal(loaded.prior, quantizer.prior)
    assert not torch.equal(quantizer.prior, RegVQConfig(12, prior="histogram").build(5).prior)


@pytest.mark.parametrize(
    ("counts", "words"),
    [(np.ones(11), "12 numbers"), (-np.ones(12), "0 or more"), (np.zeros(12), "not all 0")],
)
def test_wrong_histograms_are_refused(tmp_path, counts, words):
    np.save(tmp_path / "h.npy", counts)
    with pytest.raises(ValueError, match=words):
        read_histogram(tmp_path / "h.npy", 12)
    np.savez(tmp_path / "h.npz", counts=counts)
    whole = (tmp_path / "h.npz").read_bytes()
    for part in (b"", whole[: len(whole) // 2]):
        (tmp_path / "h.npz").write_bytes(part)
        with pytest.raises(ValueError, match="cannot be read"):
            read_histogram(tmp_path / "h.npz", 12)
    with pytest.raises(ValueError, match="does not exist"):
        RegVQConfig(prior="histogram", prior_file=tmp_path / "none.npy")


def test_same_generator_same_codes():
    quantizer, z = make()
    a, b, c = (quantizer(z, generator=noise(s)).ids for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_eval_draws_only_when_asked():
    quantizer, z = make()
    quantizer.eval()
    assert torch.equal(quantizer(z).ids, quantizer.assign(z))
    drawn = quantizer(z, mask_ratio=1.0, generator=noise())
    assert drawn.mask.all()
    assert not torch.equal(drawn.ids, quantizer.assign(z))
    assert not drawn.losses


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"posterior": "cosine"}, "distance"),
        ({"mask_ratio": 1.5}, "mask_ratio"),
        ({"mask_fall": (0.8, 0.5)}, "mask_fall"),
        ({"mask_fall": (0.5, 1.5)}, "mask_fall"),
        ({"mask_ratio": float("nan")}, "mask_ratio"),
        ({"temperature": 0.0}, "temperature"),
        ({"prior_scope": "epoch"}, "prior_scope"),
        ({"prior": "flat"}, "prior"),
        ({"prior_spread": 0.0}, "prior_spread"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        RegVQConfig(**settings)


@pytest.mark.parametrize("kind", [RegVQConfig, NSVQConfig])
def test_the_masks_ratio_falls_to_zero(kind):
    torch.manual_seed(3)
    quantizer = kind(size=12, mask_ratio=0.4, mask_fall=(0.5, 0.75)).build(5).train()
    z = torch.randn(3, 5, 10, 10)
    shares = []
    for progress in (0.0, 0.49, 0.5, 0.625, 0.75, 0.99):
        quantizer.schedule(progress)
        found = quantizer(z, generator=torch.Generator().manual_seed(0))
        shares.append(0.0 if found.mask is None else float(found.mask.float().mean()))
    assert shares == pytest.approx([0.4, 0.4, 0.4, 0.2, 0, 0])
    steady = kind(size=12, mask_ratio=0.4).build(5).train()
    steady.schedule(1.0)
    assert float(steady(z, generator=torch.Generator()).mask.float().mean()) == pytest.approx(0.4)

"""Quantizers before the first step: limits of settings, initial values, and what files hold."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.config import from_dict, to_dict
from core.quantizers import (
    QUANTIZERS,
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
    FSQConfig,
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    RegVQConfig,
    SimVQConfig,
    UsageWindow,
    VQConfig,
)
from core.quantizers.base import to_rows
from core.quantizers.code_prior import read_histogram
from core.quantizers.ops import kmeans, negative_distances, rotation_trick
from core.quantizers.tiled import lookup
from tests.core.quantizers.test_quantizers import CONFIGS

SMALL = 1e-9
LIMITS: list[tuple[Any, str, list[Any], list[Any]]] = [
    (VQConfig, "size", [1], [0, -1]),
    (VQConfig, "decay", [0.0, 1 - SMALL], [-SMALL, 1.0]),
    (VQConfig, "beta", [0.0, 5.0], []),
    (VQConfig, "restart_below", [0.0, 3.0], []),
    (RegVQConfig, "mask_ratio", [0.0, 1.0], [-SMALL, 1 + SMALL]),
    (RegVQConfig, "temperature", [SMALL], [0.0, -SMALL]),
    (RegVQConfig, "prior_spread", [SMALL], [0.0, -SMALL, math.nan]),
    (RegVQConfig, "prior_scope", ["batch", "image"], ["picture"]),
    (RegVQConfig, "prior", ["uniform", "gaussian", "histogram"], ["flat"]),
    (RegVQConfig, "posterior", ["head", "distance"], ["cosine"]),
    (GumbelConfig, "temperature", [SMALL], [0.0, -SMALL, math.nan]),
    (GumbelConfig, "last_temperature", [SMALL], [0.0, -SMALL, math.nan]),
    (GumbelConfig, "kl_weight", [0.0], [-SMALL]),
    (GumbelConfig, "mask_ratio", [0.0, 1.0], [-SMALL, 1 + SMALL]),
    (NSVQConfig, "tau", [SMALL], [0.0, -SMALL]),
    (NSVQConfig, "epoch", [1], [0]),
    (NSVQConfig, "beta", [0.0], [-SMALL]),
    (NSVQConfig, "alpha", [0.0], [-SMALL]),
    (NSVQConfig, "replacement_warmup", [0], [-1]),
    (NSVQConfig, "replacement_noise", [0.0], [-SMALL]),
    (NSVQConfig, "mask_ratio", [0.0, 1.0], [-SMALL, 1 + SMALL]),
    (IBQConfig, "temperature", [SMALL], [0.0, -SMALL]),
    (LFQConfig, "temperature", [SMALL], [0.0, -SMALL]),
    (LFQConfig, "size", [2, 4, 64], [0, 1, 3, 6, 100, -2]),
    (FSQConfig, "levels", [(2,), (2, 3)], [(), (1,), (3, 1), (0, 2)]),
    (FSQConfig, "size", [0, 1000], [1, 999, 1001]),
    (SimVQConfig, "estimator", ["straight-through", "rotation"], ["reinforce"]),
    (SimVQConfig, "size", [1], [0]),
    (BSQConfig, "size", [4, 8, 64], [0, 1, 2, 3, 6, 100, -2]),
    (BSQConfig, "temperature", [SMALL], [0.0, -SMALL, math.nan]),
    (BSQConfig, "commitment", [0.0], [-SMALL, math.nan]),
    (BSQConfig, "group", [1, 2, 5, 10], [0, 3, 11, -1]),
    (DiVeQConfig, "size", [1], [0]),
    (DiVeQConfig, "noise", [0.0], [-SMALL, math.nan]),
    (DiVeQConfig, "replace_every", [0, 1], [-1]),
    (DiVeQConfig, "replace_below", [0.0, 1.0], [-SMALL, 1 + SMALL, math.nan]),
    (DiVeQConfig, "replacement_noise", [0.0], [-SMALL]),
    (FSPConfig, "levels", [(2,), (2, 3)], [(), (1,), (3, 1), (0, 2)]),
    (FSPConfig, "size", [0, 1000], [1, 999, 1001]),
    (FSPConfig, "quantize_rate", [0.0, 1.0], [-SMALL, 1 + SMALL]),
    (FSPConfig, "mean_weight", [0.0], [-SMALL]),
    (FSPConfig, "variance_weight", [0.0], [-SMALL]),
]


@pytest.mark.parametrize(
    ("kind", "name", "accepted", "refused"), LIMITS, ids=lambda part: getattr(part, "__name__", "")
)
def test_settings_are_accepted_up_to_their_limits(
    kind: Any, name: str, accepted: list[Any], refused: list[Any]
) -> None:
    for value in accepted:
        kind(**{name: value}).build(3)
    for value in refused:
        with pytest.raises(ValueError, match=rf"quantizer\.{name}\b"):
            kind(**{name: value}).build(3)


def test_levels_of_a_list_are_those_of_a_tuple() -> None:
    listed = FSQConfig(levels=[8, 5, 5, 5])  # type: ignore[arg-type]
    assert listed == FSQConfig() and hash(listed) == hash(FSQConfig())


def test_other_levels_need_no_other_size() -> None:
    other = replace(FSQConfig(), levels=(4, 4))
    assert other == FSQConfig(levels=(4, 4)) and other.size == 16
    assert replace(other, levels=(3, 3)).size == 9
    stored = json.loads(json.dumps(to_dict(other, QUANTIZERS)))
    assert stored == {"name": "fsq", "levels": [4, 4], "size": 16}
    assert from_dict(stored, QUANTIZERS) == other
    assert from_dict({"name": "fsq", "levels": [4, 4]}, QUANTIZERS) == other
    # A size that somebody has chosen is refused if the levels contradict it.
    for settings in ({"levels": (4, 4), "size": 1000}, {"size": 17}):
        with pytest.raises(ValueError, match=r"quantizer\.size must be (16|1000), the product of"):
            replace(FSQConfig(), **settings)
    with pytest.raises(ValueError, match=r"must be 16, .* got 17; leave it out"):
        from_dict({**stored, "size": 17}, QUANTIZERS)


GAUSSIAN = {
    "regvq": RegVQConfig(size=2000),
    "gumbel": GumbelConfig(size=2000),
    "ibq": IBQConfig(size=2000),
    "nsvq": NSVQConfig(size=2000),
    "simvq": SimVQConfig(size=2000),
}


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("dim", [4, 16])
def test_initial_codes_are_gaussian_of_unit_length(name: str, dim: int) -> None:
    """Each component is N(0, 1/d), so that a code's squared length is 1 on average."""
    torch.manual_seed(0)
    quantizer = GAUSSIAN[name].build(dim)
    codes = (quantizer.frozen if name == "simvq" else quantizer.codes).detach().double()
    assert codes.shape == (2000, dim)
    scaled = codes * math.sqrt(dim)
    assert abs(float(scaled.mean())) < 0.05
    assert float(scaled.var()) == pytest.approx(1, rel=0.06)
    assert float((scaled**4).mean()) == pytest.approx(3, rel=0.15)  # 1.8 if uniform
    assert len(torch.unique(codes)) > 7000


def test_initial_codes_of_vq_are_uniform_within_one_over_k() -> None:
    codes = VQConfig(size=500).build(8).codes.detach().double() * 500
    assert codes.shape == (500, 8)
    assert float(codes.min()) == pytest.approx(-1, abs=0.01)
    assert float(codes.max()) == pytest.approx(1, abs=0.01)
    assert float(codes.var()) == pytest.approx(1 / 3, rel=0.05)
    assert abs(float(codes.mean())) < 0.03


def test_initial_codes_of_diveq_are_uniform_between_zero_and_one_over_k() -> None:
    codes = DiVeQConfig(size=500).build(8).codes.detach().double() * 500
    assert float(codes.min()) == pytest.approx(0, abs=0.01)
    assert float(codes.max()) == pytest.approx(1, abs=0.01)
    assert float(codes.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(codes.var()) == pytest.approx(1 / 12, rel=0.06)


@pytest.mark.parametrize("dim", [3, 8])
def test_initial_scale_of_the_posterior_is_e(dim: int) -> None:
    quantizer = RegVQConfig(size=6).build(dim)
    rows, codes = torch.randn(5, dim), quantizer.codebook()
    gaps = (rows[:, None] - codes[None]).square().sum(-1)
    wanted = (-math.e * gaps).log_softmax(-1)
    torch.testing.assert_close(quantizer.log_posterior(rows), wanted, rtol=1e-4, atol=1e-4)


HELD = {
    "vq": {"codes"},
    "vq-ema": {"codes", "sums", "weights", "uses", "updates"},
    "vq-cosine-kmeans": {"codes", "started"},
    "vq-rotation": {"codes"},
    "regvq-distance": {"codes", "log_scale"},
    "regvq-head": {"codes", "head.weight", "head.bias"},
    "regvq-gaussian": {"codes", "log_scale", "prior"},
    "simvq": {"frozen", "projection.weight", "projection.bias"},
    "simvq-rotation": {"frozen", "projection.weight", "projection.bias"},
    "nsvq": {"codes", "uses", "updates"},
    "gumbel": {"codes", "head.weight", "head.bias"},
    "fsq": {f"{side}_levels.{part}" for side in ("to", "from") for part in ("weight", "bias")},
    "lfq": {f"{side}_bits.{part}" for side in ("to", "from") for part in ("weight", "bias")},
    "ibq": {"codes"},
    "bsq": {f"{side}_bits.{part}" for side in ("to", "from") for part in ("weight", "bias")},
    "diveq": {"codes", "used_steps", "updates"},
    "fsp": {f"{side}_levels.{part}" for side in ("to", "from") for part in ("weight", "bias")},
}
"""The tensors of each quantizer in a bundle's weights."""


@pytest.mark.parametrize("name", CONFIGS)
def test_files_hold_these_tensors(name: str) -> None:
    quantizer = CONFIGS[name].build(8)
    held = quantizer.state_dict()
    assert set(held) == HELD[name]
    counts = {"updates", "used_steps"} | ({"uses"} if name == "nsvq" else set())
    for part, tensor in held.items():
        kind = torch.int64 if part in counts else torch.float32
        assert tensor.dtype == (torch.bool if part == "started" else kind), part
    assert not quantizer.encoder_frozen
    learned = {
        part for part in HELD[name] if part.split(".")[0] not in (
            "frozen", "prior", "sums", "weights", "uses", "updates", "started",
            "used_steps",
        )
    }  # fmt: skip
    if name == "vq-ema":
        learned = set()  # its codes follow averages
    trained = {part for part, p in quantizer.named_parameters() if p.requires_grad}
    assert trained == learned


def test_quantizers_that_draw_codes() -> None:
    drawing = {name for name in CONFIGS if CONFIGS[name].build(8).is_stochastic}
    assert drawing == {"regvq-distance", "regvq-head", "regvq-gaussian", "nsvq", "gumbel"}


def test_cosine_latents_of_nearly_nothing_are_not_blown_up() -> None:
    """The length that a latent is divided by is at least 1e-4."""
    quantizer = VQConfig(size=4, distance="cosine").build(3).train()
    z = torch.zeros(1, 3, 1, 1, requires_grad=True)
    out = quantizer(z)
    (gradient,) = torch.autograd.grad(out.z[0, 1].sum(), z)
    assert gradient.flatten().tolist() == pytest.approx([0, 1e4, 0])


def test_bsq_divides_by_a_length_of_1e_4_at_least() -> None:
    quantizer = BSQConfig(size=8).build(3)
    with torch.no_grad():
        quantizer.to_bits.weight.copy_(torch.eye(3))
        quantizer.to_bits.bias.zero_()
    rows = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(quantizer.projections(rows)[0, 1], rows)
    assert gradient.flatten().tolist() == pytest.approx([0, 1e4, 0])
    far = quantizer.projections(torch.tensor([[3.0, 0.0, -4.0]]))
    assert far.flatten().tolist() == pytest.approx([0.6, 0.0, -0.8])


def test_updates_are_counted_upwards() -> None:
    """Their number seeds the draws of replaced codes, so that they are those of a resumed run."""
    for config in (
        VQConfig(size=4, restart_below=0.1),
        NSVQConfig(size=4, epoch=100),
        DiVeQConfig(size=4),
    ):
        quantizer = config.build(3).train()
        z = torch.randn(1, 3, 2, 2)
        for number in range(1, 4):
            quantizer.update(z, quantizer.assign(z))
            assert int(quantizer.updates) == number


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_averages_start_at_the_codes_of_the_first_batch(distance: str) -> None:
    config = VQConfig(size=4, start="data", codebook="ema", decay=0.9, distance=distance)
    quantizer = config.build(5).train()
    z = torch.randn(1, 5, 2, 2)
    quantizer(z)
    assert torch.equal(quantizer.sums, quantizer.codes)
    assert torch.equal(quantizer.weights, torch.ones(4))
    started = quantizer.codes.clone()
    quantizer.update(z, quantizer.assign(z))  # each latent is its own code: nothing moves
    torch.testing.assert_close(quantizer.codes, started, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------ files of counts, windows, searches


@pytest.mark.parametrize(
    "counts",
    [[-1.0, 2.0, 3.0], [1.0, math.nan, 2.0], [1.0, math.inf, 2.0], [0.0, 0.0, 0.0],
     [-1.0, -2.0, -3.0]],
)  # fmt: skip
def test_counts_that_are_no_counts_are_refused(counts: list[float], tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", np.array(counts))
    with pytest.raises(ValueError, match="counts of 0 or more, not all 0"):
        read_histogram(tmp_path / "counts.npy", 3)


def test_counts_are_shares_with_a_thousandth_of_even_at_least(tmp_path: Path) -> None:
    np.savez(tmp_path / "atlas.npz", counts=np.array([0, 3, 1, 0]))
    found = read_histogram(tmp_path / "atlas.npz", 4).double()
    raw = torch.tensor([1e-3 / 4, 0.75, 0.25, 1e-3 / 4], dtype=torch.float64)
    torch.testing.assert_close(found, raw / raw.sum(), rtol=1e-6, atol=0)
    assert read_histogram(tmp_path / "atlas.npz", 4).dtype == torch.float32


def test_pickled_counts_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", np.array([1, 2, 3], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_histogram(tmp_path / "counts.npy", 3)


def test_a_window_keeps_its_last_steps_one_by_one() -> None:
    window = UsageWindow(3, length=2)
    empty = window.per_step()
    assert empty.shape == (0, 3) and empty.dtype == torch.int32
    steps = [[0, 0, 1], [1], [2, 2, 1]]
    for ids in steps:
        window.add(torch.tensor(ids))
    assert window.per_step().tolist() == [[0, 1, 0], [0, 1, 2]]
    assert window.per_step().dtype == torch.int32 and window.counts().dtype == torch.int64
    again = UsageWindow(3, length=2)
    again.restore(window.per_step())
    assert again.per_step().tolist() == [[0, 1, 0], [0, 1, 2]] and again.steps == 2
    again.add(torch.tensor([0]))
    assert again.per_step().tolist() == [[0, 1, 2], [1, 0, 0]]
    other = UsageWindow(3, length=2)
    other.restore(window.per_step(), share=0)  # another process's part of the same window
    assert other.per_step().tolist() == [[0, 0, 0], [0, 0, 0]]
    short = UsageWindow(3, length=1)
    short.restore(window.per_step())
    assert short.per_step().tolist() == [[0, 1, 2]]
    assert UsageWindow(3).length == 100


@pytest.mark.parametrize(("rows", "codes"), [(1, 1), (2, 3), (3, 2), (512, 1024)])
def test_tiles_of_any_size_give_the_first_best_code(
    rows: int, codes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "ROWS", rows)
    monkeypatch.setattr(lookup, "CODES", codes)
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(-2, 3, (11, 3), generator=draw).float()  # integers: many equal scores
    weight = torch.randint(-2, 3, (7, 3), generator=draw).float()
    bias = torch.randint(-1, 2, (7,), generator=draw).float()
    scores = (x[:, None] * weight[None]).sum(-1) + bias
    wanted = [row.index(max(row)) for row in scores.tolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of a buffer of a wrong shape
        assert lookup.plain_best_code(x, weight, bias).tolist() == wanted
    assert lookup.best_code(x, weight, bias).tolist() == wanted


def test_rows_and_their_order() -> None:
    z = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    rows = to_rows(z)
    for b in range(2):
        for r in range(2):
            for c in range(2):
                assert torch.equal(rows[b * 4 + r * 2 + c], z[b, :, r, c])


@pytest.mark.parametrize("step", [0, 1, 2**31 - 1])
def test_noise_is_finite_at_both_ends(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "random_", lambda self, generator: self.fill_(step))
    (noise,) = lookup.gumbel_noise(torch.zeros(1), None).tolist()
    v = min((step + 0.5) / 2**31, 1 - 2**-24)
    assert noise == pytest.approx(-math.log(-math.log1p(-v)), rel=1e-5)


def test_seeds_of_draws_are_all_different() -> None:
    generator = torch.Generator().manual_seed(0)
    seeds = {lookup.draw_seed(generator, torch.device("cpu")) for _ in range(2000)}
    assert len(seeds) == 2000
    assert min(seeds) >= 0 and 2**58 < max(seeds) < 2**62


def test_distances_of_rows_and_codes() -> None:
    rows, codes = torch.randn(4, 3), torch.randn(5, 3)
    wanted = [[-sum((a - b) ** 2 for a, b in zip(r, c, strict=True)) for c in codes.tolist()]
              for r in rows.tolist()]  # fmt: skip
    torch.testing.assert_close(negative_distances(rows, codes), torch.tensor(wanted))
    assert not negative_distances(rows, rows).diagonal().any()  # exactly 0


def test_a_center_with_one_row_moves_to_it() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]])
    found = kmeans(rows, torch.tensor([[0.2, 0.1], [7.0, 7.0]]), 1)
    assert torch.equal(found, torch.tensor([[0.5, 0.0], [9.0, 9.0]]))


def test_the_rotation_has_no_gradient_on_the_codes() -> None:
    rows, chosen = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    grads = torch.autograd.grad(rotation_trick(rows, chosen).sum(), [rows, chosen],
                                allow_unused=True)  # fmt: skip
    assert grads[0] is not None and grads[1] is None


@pytest.mark.parametrize("heat", [0.01, 1.0])
def test_the_posterior_of_signs_is_a_product_over_bits(heat: float) -> None:
    quantizer = LFQConfig(size=8, temperature=heat).build(4)
    rows = 0.05 * heat * torch.randn(6, 4)
    numbers = (quantizer.to_bits(rows) * 4 / heat).double().detach()
    found = quantizer.log_posterior(rows)
    for code in range(8):
        bits = torch.tensor([code >> i & 1 for i in range(3)]) * 2.0 - 1
        wanted = (bits * numbers).sigmoid().log().sum(1)
        torch.testing.assert_close(found[:, code].double(), wanted, rtol=1e-4, atol=1e-3)


def test_a_number_of_zero_has_the_sign_of_its_code() -> None:
    quantizer = LFQConfig(size=4).build(3).train()
    torch.nn.init.zeros_(quantizer.to_bits.bias)
    z = torch.zeros(1, 3, 1, 1)
    out = quantizer(z)
    assert out.ids.item() == 0  # all signs are -1
    out.losses["commitment"].backward()
    # d/dn 1/4 mean (n + 1)^2 at 0, of two numbers
    assert quantizer.to_bits.bias.grad.tolist() == pytest.approx([0.25, 0.25])

"""The contract of every quantizer."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
from core.quantizers.tiled.lookup import nearest_code
from core.tokenizer import TokenizerConfig

CONFIGS = {
    "vq": VQConfig(size=30),
    "vq-ema": VQConfig(size=30, codebook="ema", restart_below=0.1),
    "vq-cosine-kmeans": VQConfig(size=30, distance="cosine", start="kmeans"),
    "vq-rotation": VQConfig(size=30, estimator="rotation"),
    "regvq-distance": RegVQConfig(size=30),
    "regvq-head": RegVQConfig(size=30, posterior="head"),
    "regvq-gaussian": RegVQConfig(size=30, prior="gaussian"),
    "simvq": SimVQConfig(size=30),
    "simvq-rotation": SimVQConfig(size=30, estimator="rotation"),
    "nsvq": NSVQConfig(size=30, epoch=1, replacement_warmup=0),
    "gumbel": GumbelConfig(size=30),
    "fsq": FSQConfig(levels=(5, 3, 2)),
    "lfq": LFQConfig(size=32),
    "ibq": IBQConfig(size=30),
    "bsq": BSQConfig(size=16, group=2, commitment=0.1),
    "diveq": DiVeQConfig(size=30),
    "fsp": FSPConfig(levels=(5, 3, 2)),
}
PERTURBED = {"diveq", "fsp"}
"""Quantizers whose decoder gets a perturbed code in training."""


@pytest.mark.parametrize("name", CONFIGS)
def test_straight_through_says_if_the_gradient_on_the_latents_is_the_identity(name) -> None:
    torch.manual_seed(1)
    quantizer, weight = CONFIGS[name].build(8).train(), torch.randn(2, 8, 3, 3)
    z = torch.randn(2, 8, 3, 3, requires_grad=True)
    (quantizer(z).z * weight).sum().backward()
    assert torch.allclose(z.grad, weight, atol=1e-6) == quantizer.straight_through


@pytest.fixture(params=CONFIGS)
def quantizer(request):
    torch.manual_seed(1)
    built = CONFIGS[request.param].build(8)
    built.perturbed = request.param in PERTURBED
    if hasattr(built, "codes"):
        with torch.no_grad():
            built.codes.normal_(0, 0.5)
    return built


def test_every_quantizer_is_covered():
    assert {type(config) for config in CONFIGS.values()} == set(QUANTIZERS.values())


def test_embed_of_assign_is_what_the_decoder_gets(quantizer):
    z = torch.randn(2, 8, 5, 3)
    quantizer.eval()
    out = quantizer(z)
    assert torch.equal(quantizer.assign(z), out.ids)
    assert torch.equal(quantizer.embed(out.ids), out.z)
    assert out.ids.shape == (2, 5, 3)
    assert out.ids.dtype == torch.int64
    assert out.z.shape == z.shape
    assert torch.equal(quantizer.embed(out.ids)[1, :, 4, 2], quantizer.codebook()[out.ids[1, 4, 2]])
    assert not out.losses


def test_in_training_the_decoder_gets_the_code_itself(quantizer):
    z = torch.randn(2, 8, 5, 3, requires_grad=True)
    out = quantizer(z, generator=torch.Generator().manual_seed(0))
    assert torch.equal(out.z, quantizer.embed(out.ids)) != quantizer.perturbed
    assert torch.equal(out.ids, quantizer.assign(z)) or quantizer.is_stochastic


@pytest.mark.parametrize(
    "config", [DiVeQConfig(size=30, noise=0), FSPConfig(levels=(5, 3, 2), quantize_rate=1)]
)
def test_without_a_perturbation_the_decoder_gets_the_code_itself(config):
    torch.manual_seed(1)
    quantizer = config.build(8).train()
    out = quantizer(torch.randn(2, 8, 5, 3))
    torch.testing.assert_close(out.z, quantizer.embed(out.ids), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 7, 3, 3), r"latents must be \(B, 8, h, w\), got \(2, 7, 3, 3\)$"),
        ((0, 8, 3, 3), r"the batch of latents \(0, 8, 3, 3\) is empty"),
        ((2, 8, 9), r"got \(2, 8, 9\); a SignalQuantizer takes those of other shapes"),
        ((2, 8, 2, 3, 3), r"got \(2, 8, 2, 3, 3\); a SignalQuantizer takes"),
    ],
)
def test_latents_of_another_shape_get_a_sentence(quantizer, shape, words):
    for train in (True, False):
        for call in (quantizer.train(train), quantizer.assign):
            with pytest.raises(ValueError, match=words):
                call(torch.zeros(shape))


def test_logits_agree_with_assign(quantizer):
    z = torch.randn(2, 8, 4, 4)
    logits = quantizer.logits(to_rows(z))
    assert torch.equal(logits.argmax(1), quantizer.assign(z).flatten())
    total = quantizer.log_posterior(to_rows(z)).exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_float32_under_autocast(quantizer):
    z = torch.randn(2, 8, 4, 4, requires_grad=True)
    plain = quantizer(z, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        cast = quantizer(z, generator=torch.Generator().manual_seed(0))
    assert cast.z.dtype == torch.float32
    assert torch.equal(plain.ids, cast.ids)
    for name, loss in plain.losses.items():
        assert torch.equal(loss, cast.losses[name])


@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (2, 8, 3, 2)])
def test_zero_vectors_give_finite_gradients(quantizer, shape):
    z = torch.zeros(shape, requires_grad=True)
    out = quantizer(z, generator=torch.Generator().manual_seed(0))
    (out.z.square().sum() + sum(out.losses.values())).backward()
    assert torch.isfinite(z.grad).all()
    for parameter in quantizer.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    quantizer.update(z.detach(), out.ids)
    assert torch.isfinite(quantizer.codebook()).all()


@pytest.mark.parametrize(
    "config",
    [
        *(
            kind(size=1)
            for kind in (RegVQConfig, SimVQConfig, NSVQConfig, GumbelConfig, IBQConfig, DiVeQConfig)
        ),
        *(VQConfig(size=1, start="kmeans", distance=name) for name in ("euclidean", "cosine")),
        VQConfig(size=1, estimator="rotation"),
    ],
    ids=lambda config: type(config).__name__,
)
def test_one_code(config):
    quantizer = config.build(4)
    z = torch.randn(1, 4, 2, 2, requires_grad=True)
    out = quantizer(z, generator=torch.Generator().manual_seed(0))
    (out.z.sum() + sum(out.losses.values())).backward()
    assert not out.ids.any()
    assert torch.isfinite(z.grad).all()


def test_every_quantizer_passes_a_gradient_to_the_encoder(quantizer):
    z = torch.randn(2, 8, 4, 4, requires_grad=True)
    out = quantizer(z, generator=torch.Generator().manual_seed(0))
    (out.z * torch.randn(2, 8, 4, 4)).sum().backward()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bundle_describes_its_quantizer(name):
    config = TokenizerConfig(quantizer=CONFIGS[name])
    described = json.loads(json.dumps(config.to_dict()))
    assert described["quantizer"]["size"] == CONFIGS[name].build(8).size
    assert TokenizerConfig.from_dict(described) == config


@pytest.mark.parametrize("tile", [1, 2**20])
@pytest.mark.parametrize("name", [n for n in CONFIGS if n.startswith("regvq")])
def test_regvq_is_the_same_in_one_tile_and_in_many(name, tile, monkeypatch):
    monkeypatch.setattr("core.quantizers.tiled.lookup.SOFT_TILE", tile)
    quantizer = CONFIGS[name].build(8)
    z = torch.randn(2, 8, 5, 3, requires_grad=True)
    for ratio in (0.0, 0.4, 1.0):
        out = quantizer(z, mask_ratio=ratio, generator=torch.Generator().manual_seed(0))
        again = quantizer(z, mask_ratio=ratio, generator=torch.Generator().manual_seed(0))
        assert torch.equal(out.ids, again.ids)
        assert torch.equal(out.z, quantizer.embed(out.ids))
        assert torch.equal(out.ids[~out.mask], quantizer.assign(z)[~out.mask])
        (gradient,) = torch.autograd.grad(out.z.sum() + sum(out.losses.values()), z)
        assert torch.isfinite(gradient).all()


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 1200),
    size=st.integers(1, 9000),
    dim=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_tiled_lookup_is_exact(count, size, dim, seed):
    """Ids are those of a float64 search, except where two codes are equally near up to rounding."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=draw)
    codes = torch.randn(size, dim, generator=draw)
    ids = nearest_code(rows, codes)
    some = torch.arange(0, count, max(1, count // 40))
    distances = (rows[some].double()[:, None] - codes.double()[None]).square().sum(-1)
    chosen = distances.gather(1, ids[some, None]).squeeze(1)
    assert (chosen - distances.min(1).values <= 1e-5 * (1 + chosen)).all()


@pytest.mark.parametrize(("size", "dim"), [(65_536, 32), (16_384, 8), (16_384, 256)])
def test_lookup_is_exact_at_full_size(size, dim):
    """Ids are those of a float64 search at every position except ties, up to 65,536 codes."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(300, dim, generator=draw)
    codes = torch.randn(size, dim, generator=draw) * dim**-0.5
    codes[size // 2 :: 997] = codes[: len(codes[size // 2 :: 997])]  # equal codes
    codes[:300] = rows * (1 + 1e-3 * torch.randn(300, dim, generator=draw))  # and similar ones
    distances = -2 * rows.double() @ codes.double().t() + codes.double().square().sum(1)
    ids, wanted = nearest_code(rows, codes), distances.argmin(1)
    gap = (distances.gather(1, ids[:, None]) - distances.gather(1, wanted[:, None])).squeeze(1)
    tie = gap <= 4e-7 * rows.double().square().sum(1)  # of adjacent float32 numbers
    assert torch.equal(ids[~tie], wanted[~tie])
    assert (ids == wanted).float().mean() > 0.98


def test_lookup_takes_the_lowest_of_equals():
    codes = torch.ones(5000, 3)
    assert not nearest_code(torch.randn(7, 3), codes).any()


def test_usage_window_counts_the_last_steps():
    window = UsageWindow(5, length=2)
    window.add(torch.tensor([[0, 0], [1, 4]]))
    window.add(torch.tensor([2, 2]))
    window.add(torch.tensor([3]))
    assert window.counts().tolist() == [0, 0, 2, 1, 0]
    assert window.steps == 2


def test_usage_window_leaves_padded_places_out():
    window, leveled = UsageWindow(3), UsageWindow(3, levels=2)
    window.add(torch.tensor([[0, 2, -1], [2, -1, -1]]))
    leveled.add(torch.tensor([[[0, 2, -1], [1, -1, -1]]]))
    assert window.counts().tolist() == [1, 0, 2]
    assert leveled.counts().tolist() == [[1, 0, 1], [0, 1, 0]]


def test_usage_window_without_a_step():
    with pytest.raises(ValueError, match="no step"):
        UsageWindow(5).counts()

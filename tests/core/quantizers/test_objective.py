"""Every quantizer's losses and gradients against a dense float64 writing of its formulas.

Settings are drawn too, so that a weight or a temperature that is not applied shows. The gradients
compared are those of a random function of the decoder's input plus the sum of the losses, on the
latents and on every parameter.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)
from core.quantizers.base import Quantized, Quantizer, to_rows
from core.quantizers.diveq import add_error
from core.quantizers.tiled.lookup import draw_seed, gumbel_noise
from tests.helpers import plain_quantizers as plain

DIM = 5
SHAPE = (2, DIM, 3, 2)
POSITIONS = SHAPE[2] * SHAPE[3]

weight = st.floats(0.05, 2.0)
temperature = st.floats(0.3, 2.0)
seeds = st.integers(0, 2**20)
some = settings(max_examples=12, deadline=None, derandomize=True)


def build(config: Any, seed: int) -> tuple[Quantizer, Tensor]:
    """Return a quantizer in training mode with well separated codes, and latents."""
    torch.manual_seed(seed)
    quantizer = config.build(DIM).train()
    with torch.no_grad():
        for parameter in quantizer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return quantizer, torch.randn(SHAPE)


def noise_of(seed: int, mask: Tensor, size: int) -> Tensor:
    """Return the Gumbel noise (N, K) of a forward pass with the generator ``seed``; 0 elsewhere.

    The pass draws its mask first, then the seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.rand(SHAPE[0], POSITIONS, generator=generator)
    drawn = draw_seed(generator, torch.device("cpu"))
    noise = torch.zeros(len(mask), size)
    if mask.any():
        rows = noise[mask]
        noise[mask] = gumbel_noise(rows, torch.Generator().manual_seed(drawn))
    return noise.double()


def assert_perturbation(quantizer: Quantizer, z: Tensor, out: Quantized) -> None:
    """Compare the perturbation with the squared distance of the decoded and the best code."""
    if out.perturbation is None:
        assert out.mask is None
        return
    codes = quantizer.codebook().detach().double()
    gap = codes[out.ids] - codes[quantizer.logits(to_rows(z)).argmax(1).view_as(out.ids)]
    torch.testing.assert_close(out.perturbation.double(), (gap**2).sum(-1), rtol=1e-5, atol=1e-6)
    assert not out.perturbation.requires_grad


def check(quantizer: Quantizer, z: Tensor, reference: Any, seed: int = 0, **given: Any) -> None:
    """Compare a training step with ``reference``: the output, each loss, and all gradients."""
    z = z.clone().requires_grad_()
    out = quantizer(z, generator=torch.Generator().manual_seed(seed))
    pull = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    names = [name for name, p in quantizer.named_parameters() if p.requires_grad]
    parameters = [p for p in quantizer.parameters() if p.requires_grad]
    total = (out.z * pull).sum() + sum(out.losses.values())
    found = torch.autograd.grad(total, [z, *parameters], allow_unused=True)

    rows = to_rows(z.detach()).double().requires_grad_()
    double = {
        name: p.detach().double().requires_grad_(p.requires_grad)
        for name, p in quantizer.named_parameters()
    }
    if out.mask is not None and "mask" not in given:
        given["mask"] = out.mask.flatten()
    if "mask" in given:
        given["noise"] = noise_of(seed, given["mask"], quantizer.size)
    decoded, losses = reference(quantizer.config, double, rows, **given)
    torch.testing.assert_close(to_rows(out.z).double(), decoded, rtol=1e-5, atol=1e-5)
    assert_perturbation(quantizer, z.detach(), out)
    assert losses.keys() == out.losses.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(out.losses[name].double(), loss, rtol=2e-5, atol=1e-7)
    total = (decoded * to_rows(pull).double()).sum() + sum(losses.values())
    wanted = torch.autograd.grad(total, [rows, *(double[n] for n in names)], allow_unused=True)
    largest = max(float(b.abs().max()) for b in wanted if b is not None)
    for name, a, b in zip(["z", *names], found, wanted, strict=True):
        assert (a is None) == (b is None), name
        if a is None or b is None:
            continue
        a = (to_rows(a) if name == "z" else a).double()
        gap = float((a - b).abs().max()) / (1e-3 * float(b.abs().max()) + 1e-5 * largest + 1e-9)
        assert gap < 1, f"the gradient on {name} differs: {a}, not {b}"


@some
@given(
    seed=seeds,
    posterior=st.sampled_from(["distance", "head"]),
    mask_ratio=st.sampled_from([0.0, 0.4, 1.0]),
    prior_weight=weight,
    commitment=weight,
    temperature=temperature,
    prior_scope=st.sampled_from(["batch", "image"]),
    prior=st.sampled_from(["uniform", "gaussian"]),
)
def test_regvq(seed: int, **chosen: Any) -> None:
    quantizer, z = build(RegVQConfig(size=7, **chosen), seed)
    prior = None
    if chosen["prior"] == "gaussian":
        position = (torch.arange(7, dtype=torch.float64) - 3) / 7
        prior = torch.exp(-0.5 * (position / 0.25) ** 2)
        prior = prior / prior.sum()
    check(quantizer, z, plain.regvq, seed, pictures=SHAPE[0], prior=prior)


@some
@given(
    seed=seeds,
    kl_weight=weight,
    mask_ratio=st.sampled_from([0.0, 0.5, 1.0]),
    first=temperature,
    last=temperature,
    progress=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_gumbel(
    seed: int, kl_weight: float, mask_ratio: float, first: float, last: float, progress: float
) -> None:
    config = GumbelConfig(
        size=7,
        kl_weight=kl_weight,
        temperature=first,
        last_temperature=last,
        mask_ratio=mask_ratio,
    )
    quantizer, z = build(config, seed)
    quantizer.schedule(progress)
    fallen = {0.0: 0.0, 0.25: 0.5 * (1 - 2**-0.5), 0.5: 0.5, 1.0: 1.0}[progress]
    check(quantizer, z, plain.gumbel, seed, temperature=first + (last - first) * fallen)


@some
@given(
    seed=seeds,
    beta=weight,
    codebook=st.sampled_from(["gradient", "ema"]),
    distance=st.sampled_from(["euclidean", "cosine"]),
    estimator=st.sampled_from(["straight-through", "rotation"]),
)
def test_vq(seed: int, **chosen: Any) -> None:
    quantizer, z = build(VQConfig(size=7, **chosen), seed)
    check(quantizer, z, plain.vq)


@some
@given(seed=seeds, beta=weight, estimator=st.sampled_from(["straight-through", "rotation"]))
def test_simvq(seed: int, **chosen: Any) -> None:
    quantizer, z = build(SimVQConfig(size=7, **chosen), seed)
    check(quantizer, z, plain.simvq, frozen=quantizer.frozen.double())


@some
@given(
    seed=seeds,
    beta=weight,
    alpha=weight,
    tau=temperature,
    mask_ratio=st.sampled_from([0.0, 0.5]),
    encoder_frozen=st.booleans(),
)
def test_nsvq(seed: int, encoder_frozen: bool, **chosen: Any) -> None:
    quantizer, z = build(NSVQConfig(size=7, **chosen), seed)
    quantizer.encoder_frozen = encoder_frozen
    given: dict[str, Any] = {"encoder_frozen": encoder_frozen}
    if not chosen["mask_ratio"]:
        given["mask"] = torch.zeros(len(to_rows(z)), dtype=torch.bool)
    check(quantizer, z, plain.nsvq, seed, **given)


@some
@given(seed=seeds, beta=weight, entropy_weight=weight, temperature=temperature)
def test_ibq(seed: int, **chosen: Any) -> None:
    quantizer, z = build(IBQConfig(size=7, **chosen), seed)
    check(quantizer, z, plain.ibq)


@some
@given(
    seed=seeds,
    bits=st.sampled_from([1, 3, 4]),
    commitment=weight,
    entropy_weight=weight,
    temperature=temperature,
)
def test_lfq(seed: int, bits: int, **chosen: Any) -> None:
    quantizer, z = build(LFQConfig(size=2**bits, **chosen), seed)
    check(quantizer, z, plain.lfq)


@some
@given(seed=seeds, levels=st.sampled_from([(8, 5, 5, 5), (2, 3), (7,), (4, 4, 3)]))
def test_fsq(seed: int, levels: tuple[int, ...]) -> None:
    quantizer, z = build(FSQConfig(levels=levels), seed)
    check(quantizer, 3 * z, plain.fsq)


@some
@given(
    seed=seeds,
    shape=st.sampled_from([(2, 1), (3, 1), (4, 2), (4, 4), (6, 3)]),
    commitment=st.sampled_from([0.0, 0.7]),
    entropy_weight=weight,
    diversity=weight,
    temperature=temperature,
)
def test_bsq(seed: int, shape: tuple[int, int], **chosen: Any) -> None:
    bits, group = shape
    quantizer, z = build(BSQConfig(size=2**bits, group=group, **chosen), seed)
    check(quantizer, z, plain.bsq)


@some
@given(seed=seeds, noise=st.sampled_from([0.0, 1e-3, 0.5]))
def test_diveq(seed: int, noise: float) -> None:
    quantizer, z = build(DiVeQConfig(size=7, noise=noise), seed)
    added = torch.randn(to_rows(z).shape, generator=torch.Generator().manual_seed(seed))
    check(quantizer, z, plain.diveq, seed, added=added.double())


def test_the_error_of_diveq_has_the_gradient_of_its_length() -> None:
    """In float64 and by differences, with the direction held."""
    draw = torch.Generator().manual_seed(0)
    z, c, noise = (torch.randn(4, 3, generator=draw, dtype=torch.float64) for _ in range(3))
    aim = torch.nn.functional.normalize(c - z + noise, dim=1)

    def held(rows: Tensor, chosen: Tensor) -> Tensor:
        return rows + (chosen - rows).pow(2).sum(1, keepdim=True).sqrt() * aim

    leaves = [z.clone().requires_grad_(), c.clone().requires_grad_()]
    assert torch.autograd.gradcheck(held, leaves)
    torch.testing.assert_close(add_error(z, c, noise), held(z, c))
    weight = torch.randn(4, 3, generator=draw, dtype=torch.float64)
    found = torch.autograd.grad((add_error(*leaves, noise) * weight).sum(), leaves)
    for a, b in zip(
        found, torch.autograd.grad((held(*leaves) * weight).sum(), leaves), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_a_latent_on_its_code_has_no_error() -> None:
    rows, chosen = torch.ones(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    out = add_error(rows, chosen)
    assert torch.equal(out, rows)
    on_rows, on_codes = torch.autograd.grad(out.sum(), [rows, chosen])
    assert torch.equal(on_rows, torch.ones(2, 3)) and not on_codes.any()


@some
@given(
    seed=seeds,
    levels=st.sampled_from([(8, 5, 5, 5), (2, 3), (7,), (4, 4, 3)]),
    quantize_rate=st.sampled_from([0.0, 0.5, 1.0]),
    mean_weight=weight,
    variance_weight=weight,
)
def test_fsp(seed: int, levels: tuple[int, ...], **chosen: Any) -> None:
    quantizer, z = build(FSPConfig(levels=levels, **chosen), seed)
    draw = torch.Generator().manual_seed(seed)
    shape = len(to_rows(z)), len(levels)
    moves, chances = torch.zeros(shape), torch.zeros(shape)
    if chosen["quantize_rate"] < 1:
        moves, chances = (torch.rand(shape, generator=draw) for _ in range(2))
    check(quantizer, z, plain.fsp, seed, moves=moves.double(), chances=chances.double())


def test_fsp_that_always_quantizes_draws_nothing() -> None:
    quantizer, z = build(FSPConfig(levels=(4, 3), quantize_rate=1.0), 0)
    draw = torch.Generator().manual_seed(0)
    before = draw.get_state()
    quantizer(z, generator=draw)
    assert torch.equal(draw.get_state(), before)


def test_fsp_that_never_quantizes_draws_its_moves_alone() -> None:
    quantizer, z = build(FSPConfig(levels=(4, 3), quantize_rate=0.0), 0)
    draw, other = (torch.Generator().manual_seed(0) for _ in range(2))
    quantizer(z, generator=draw)
    torch.empty(z[:, 0].numel(), 2).uniform_(generator=other)
    assert torch.equal(draw.get_state(), other.get_state())


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_numbers_at_the_bounds_of_fsp_have_codes(size: float) -> None:
    quantizer, _ = build(FSPConfig(levels=(4, 3)), 0)
    with torch.no_grad():
        quantizer.to_levels.bias.fill_(size)
    z = torch.zeros(1, DIM, 1, 1)
    for mode in (True, False):  # tanh is exactly 1 or -1 there
        assert quantizer.train(mode)(z).ids.flatten().tolist() == [11 if size > 0 else 0]


# ------------------------------------------------------------ rules without a gradient


@some
@given(
    seed=seeds,
    decay=st.sampled_from([0.0, 0.5, 0.99]),
    distance=st.sampled_from(["euclidean", "cosine"]),
    steps=st.integers(1, 3),
)
def test_moving_averages_of_codes(seed: int, decay: float, distance: str, steps: int) -> None:
    """VQ-VAE's appendix A.1: N <- d N + (1 - d) n and m <- d m + (1 - d) sum z, code = m / N."""
    config = VQConfig(size=4, codebook="ema", decay=decay, distance=distance)
    torch.manual_seed(seed)
    quantizer = config.build(DIM).train()
    sums, counts = quantizer.codes.double().clone(), torch.ones(4, dtype=torch.float64)
    codes = sums.clone()
    for _ in range(steps):
        z = torch.randn(SHAPE)
        out = quantizer(z)
        assert quantizer.update(z, out.ids) is None
        rows = to_rows(z).double()
        if distance == "cosine":
            rows, codes = (x / x.norm(dim=1, keepdim=True).clamp_min(1e-4) for x in (rows, codes))
        ids = plain.squared_distances(rows, codes).argmin(1)
        for k in range(4):
            mine = rows[ids == k]
            counts[k] = decay * counts[k] + (1 - decay) * len(mine)
            sums[k] = decay * sums[k] + (1 - decay) * mine.sum(0)
        total = counts.sum()
        smoothed = (counts + 1e-5) / (total + 4e-5) * total
        codes = sums / smoothed[:, None]
        torch.testing.assert_close(quantizer.codes.double(), codes, rtol=1e-4, atol=1e-5)


def test_dead_codes_restart_at_latents_of_the_batch() -> None:
    """A code restarts when the average of its uses falls below the limit, not before."""
    config = VQConfig(size=3, restart_below=0.5, decay=0.5)
    quantizer = config.build(2).train()
    with torch.no_grad():
        quantizer.codes.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]))
    z = torch.tensor([[0.1, 0.0], [0.2, 0.1], [10.2, 0.1]]).T.reshape(1, 2, 3, 1)
    uses = torch.tensor([1.0, 1.0, 1.0])  # twice the limit at first
    replaced = None
    for step in range(3):
        before = quantizer.codes.detach().clone()
        uses = 0.5 * uses + 0.5 * torch.tensor([2.0, 1.0, 0.0])
        replaced = quantizer.update(z, quantizer.assign(z))
        torch.testing.assert_close(quantizer.uses[:2], uses[:2])
        if uses[2] >= 0.5:
            assert replaced is None and torch.equal(quantizer.codes, before), step
        else:
            break
    assert step == 1  # averages 0.5, then 0.25
    assert replaced is not None and replaced.tolist() == [2]
    assert any(torch.equal(quantizer.codes[2], row) for row in to_rows(z))
    assert torch.equal(quantizer.codes[:2], before[:2])
    assert float(quantizer.uses[2]) == 1.0


def test_codes_start_on_latents_of_the_first_batch() -> None:
    quantizer = VQConfig(size=6, start="data").build(DIM).train()
    z = torch.randn(SHAPE)
    quantizer(z)
    rows = to_rows(z)
    assert all(any(torch.equal(code, row) for row in rows) for code in quantizer.codes)
    assert len({tuple(code.tolist()) for code in quantizer.codes}) == 6
    before = quantizer.codes.detach().clone()
    quantizer(torch.randn(SHAPE))
    assert torch.equal(quantizer.codes, before)  # only the first batch


@pytest.mark.parametrize("warmup", [0, 2])
def test_nsvq_replaces_unused_codes_after_each_epoch(warmup: int) -> None:
    """Only codes without any use in the epoch, only at its end, and only after the warm-up."""
    config = NSVQConfig(
        size=4, epoch=2, replacement_warmup=warmup, replacement_noise=1e-3, replacement=True
    )
    quantizer = config.build(2).train()
    codes = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    with torch.no_grad():
        quantizer.codes.copy_(codes)
    z = torch.tensor([[0.1, 0.0], [10.2, 0.1]]).T.reshape(1, 2, 2, 1)
    other = torch.tensor([[0.0, 10.1], [10.2, 0.1]]).T.reshape(1, 2, 2, 1)
    first = 2 * warmup + 2
    for step in range(1, first + 1):
        batch = z if step % 2 else other  # code 2 is used only at the end of each epoch
        replaced = quantizer.update(batch, quantizer.assign(batch))
        if step < first:
            assert replaced is None and torch.equal(quantizer.codes, codes)
    assert replaced is not None and replaced.tolist() == [3]
    assert torch.equal(quantizer.codes[:3], codes[:3])
    gap = (quantizer.codes[3] - codes[:3]).norm(dim=1).min()
    assert 0 < float(gap) < 0.01
    assert not quantizer.uses.any()  # the next epoch counts anew
    quantizer.encoder_frozen = True
    for _ in range(4):
        assert quantizer.update(z, quantizer.assign(z)) is None


def test_diveq_replaces_codes_that_few_steps_have_used() -> None:
    """Only at the end of an interval, by a copy of a code that is used often enough."""
    config = DiVeQConfig(size=4, replace_every=4, replace_below=0.5, replacement_noise=1e-3)
    quantizer = config.build(2).train()
    codes = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    with torch.no_grad():
        quantizer.codes.copy_(codes)
    often = torch.tensor([[0.1, 0.0], [0.1, 0.1]]).T.reshape(1, 2, 2, 1)
    both = torch.tensor([[0.1, 0.0], [10.2, 0.1]]).T.reshape(1, 2, 2, 1)
    rare = torch.tensor([[0.1, 0.0], [0.0, 10.1]]).T.reshape(1, 2, 2, 1)
    for batch in (both, rare, both):
        assert quantizer.update(batch, quantizer.assign(batch)) is None
    assert quantizer.used_steps.tolist() == [3, 2, 1, 0]
    replaced = quantizer.update(often, quantizer.assign(often))
    assert replaced is not None and replaced.tolist() == [2, 3]
    assert torch.equal(quantizer.codes[:2], codes[:2])
    for code in quantizer.codes[2:]:
        assert 0 < float((code - codes[:2]).norm(dim=1).min()) < 0.01
    assert not quantizer.used_steps.any()  # the next interval counts anew
    known = quantizer.codes.clone()
    ids = torch.arange(4).view(1, 2, 2)
    for _ in range(4):
        assert quantizer.update(quantizer.embed(ids), ids) is None  # all are used
    assert torch.equal(quantizer.codes, known) and int(quantizer.updates) == 8
    for _ in range(4):
        assert quantizer.update(torch.zeros(1, 2, 0, 0), ids[:, :0, :0]) is None  # none is
    assert torch.equal(quantizer.codes, known)
    quantizer.encoder_frozen = True
    for _ in range(4):
        assert quantizer.update(often, quantizer.assign(often)) is None
    assert int(quantizer.updates) == 12

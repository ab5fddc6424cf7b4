"""VQ-Diffusion's process against its dense matrices in float64, and against diffusers."""

from __future__ import annotations

import math

import pytest
import torch

from core.priors.mask_and_replace import MaskAndReplace

SCHEDULES = {
    "released": ((0.99999, 0.000009), (0.000009, 0.99999)),
    "replacing": ((0.98, 0.02), (0.01, 0.7)),
}


@pytest.fixture(params=SCHEDULES)
def process(request) -> MaskAndReplace:
    return MaskAndReplace(5, 20, *SCHEDULES[request.param])


def matrix(process: MaskAndReplace, begin: int, end: int) -> torch.Tensor:
    """Return Q[i, j] = q(x_end = j | x_begin = i), float64 (K + 1, K + 1), a product of steps."""
    size = process.codes
    total = torch.eye(size + 1, dtype=torch.float64)
    for time in range(begin + 1, end + 1):
        alpha = process.kept[time] / process.kept[time - 1]
        gamma = 1 - (1 - process.masked[time]) / (1 - process.masked[time - 1])
        step = torch.zeros(size + 1, size + 1, dtype=torch.float64)
        step[:size, :size] = (1 - alpha - gamma) / size + alpha * torch.eye(size, dtype=alpha.dtype)
        step[:size, size] = gamma
        step[size, size] = 1
        total = total @ step
    return total


def dense_posterior(process: MaskAndReplace, begin: int, end: int) -> torch.Tensor:
    """Return q(x_begin = k | x_end = j, x_0 = i), float64 (i: K, j: K + 1, k: K + 1)."""
    first, step = matrix(process, 0, begin), matrix(process, begin, end)
    joint = first[:-1, None, :] * step.T[None]
    return joint / joint.sum(2, keepdim=True)


def test_rates_compose(process):
    for begin, end in ((0, 1), (0, 20), (3, 9), (19, 20)):
        wanted = matrix(process, begin, end)
        rates = process.rates(torch.tensor(begin), torch.tensor(end))
        torch.testing.assert_close(rates.alpha + rates.beta, wanted[0, 0], atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(rates.beta, wanted[0, 1], atol=1e-13, rtol=1e-6)
        torch.testing.assert_close(rates.gamma, wanted[0, -1], atol=1e-12, rtol=1e-9)


def test_corruption_follows_the_rates(process):
    clean = torch.full((2, 20_000), 3)
    time = torch.tensor([7, 20])
    found = process.corrupt(clean, time, torch.Generator().manual_seed(0))
    for row, t in zip(found, time, strict=True):
        share = torch.bincount(row, minlength=6).double() / row.numel()
        torch.testing.assert_close(share, matrix(process, 0, int(t))[3], atol=0.015, rtol=0)


def test_noise_is_the_end_of_the_process():
    process = MaskAndReplace(4, 20, *SCHEDULES["replacing"])
    share = torch.bincount(process.noise((1, 20_000), None, torch.device("cpu"))[0]) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.075] * 4 + [0.7]), atol=0.015, rtol=0)
    released = MaskAndReplace(4, 20, *SCHEDULES["released"])
    assert bool((released.noise((4, 25), None, torch.device("cpu")) == 4).all())


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (9, 10), (4, 17), (0, 20), (19, 20)])
def test_divergence_is_that_of_the_dense_matrices(process, begin, end):
    clean = torch.arange(5).repeat_interleave(6)[None]
    now = torch.arange(6).repeat(5)[None]
    if end == 1 and begin == 0:
        assert process.divergence(torch.zeros(1, 30, 5), clean, now, *_times(begin, end)).shape
    log_p = (3 * torch.randn(1, 30, 5, dtype=torch.float64)).log_softmax(2)
    posterior = dense_posterior(process, begin, end)
    q = posterior[clean[0], now[0]]  # (30, K + 1)
    p = torch.einsum("ni,nik->nk", log_p[0].exp(), posterior[:, now[0]].transpose(0, 1))
    wanted = torch.special.xlogy(q, q / p).nan_to_num().sum(1)
    found = process.divergence(log_p.float(), clean, now, *_times(begin, end))[0]
    torch.testing.assert_close(found.double(), wanted, atol=2e-5, rtol=2e-4)
    if begin == 0:
        nll = -log_p[0].gather(1, clean[0][:, None])[:, 0]
        torch.testing.assert_close(found.double(), nll, atol=2e-5, rtol=2e-4)


def test_divergence_has_the_gradient_of_its_formula(process):
    clean, now = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[5, 1, 4, 5]])
    logits = torch.randn(1, 4, 5, requires_grad=True)

    def of(logits):
        log_p = logits.log_softmax(2)
        return process.divergence(log_p, clean, now, *_times(6, 7)).sum()

    (found,) = torch.autograd.grad(of(logits), logits)
    posterior = dense_posterior(process, 6, 7)
    exact = logits.detach().double().requires_grad_()
    p = torch.einsum("ni,nik->nk", exact[0].softmax(1), posterior[:, now[0]].transpose(0, 1)).clamp(
        min=1e-300
    )
    q = posterior[clean[0], now[0]]
    (wanted,) = torch.autograd.grad(-(q * p.log()).sum(), exact)
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (9, 10), (4, 17), (0, 20)])
def test_steps_back_follow_the_dense_posterior(process, begin, end):
    logits = 2 * torch.randn(6, 5)
    posterior = dense_posterior(process, begin, end)
    count = 20_000
    now = torch.arange(6)[:, None].expand(6, count)
    rows = logits[:, None].expand(6, count, 5)
    found = process.step_back(rows, now, begin, end, torch.Generator().manual_seed(1))
    for j in range(6):
        wanted = logits[j].double().softmax(0) @ posterior[:, j]
        share = torch.bincount(found[j], minlength=6).double() / count
        error = (share - wanted).abs() / (wanted * (1 - wanted) / count).sqrt().clamp(min=1e-4)
        assert float(error.max()) < 5, (j, share, wanted)


def test_posterior_is_that_of_diffusers():
    scheduling = pytest.importorskip("diffusers.schedulers.scheduling_vq_diffusion")
    scheduler = scheduling.VQDiffusionScheduler(num_vec_classes=6, num_train_timesteps=100)
    process = MaskAndReplace(5, 100, *SCHEDULES["released"])
    log_p = (2 * torch.randn(1, 5, 6)).log_softmax(1)
    now = torch.arange(6)[None]
    for time in (2, 30, 77, 100):  # diffusers counts from 0
        theirs = scheduler.q_posterior(log_p, now, time - 1)[0].exp().T.double()
        posterior = dense_posterior(process, time - 1, time)
        p = log_p[0].double().exp()  # (K, N)
        ours = torch.stack([p[:, j] @ posterior[:, j] for j in range(6)])
        # diffusers' probabilities of codes are float32 sums of canceling terms.
        torch.testing.assert_close(ours[-1], theirs[-1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours[:-1], theirs[:-1], atol=2e-2, rtol=0)


def test_known_divergence_of_the_noise(process):
    first = matrix(process, 0, 20)[0]
    noise = torch.full((6,), (1 - float(process.masked[-1])) / 5, dtype=torch.float64)
    noise[-1] = process.masked[-1]
    wanted = float((first * (first / noise).log()).sum())
    assert process.prior_divergence() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("alpha", "gamma"),
    [
        ((0.1, 0.9), (0.1, 0.9)),
        ((0.9, 0.0), (0.1, 1.0)),
        ((0.9, 0.1), (0.1, 1.0)),
        ((0.1, 0.5), (0.1, 0.2)),  # tokens come back
        ((0.5, 0.49), (0.1, 0.5)),  # more are masked than are lost
    ],
)
def test_invalid_schedules_are_named(alpha, gamma):
    with pytest.raises(ValueError, match="alpha"):
        MaskAndReplace(5, 10, alpha, gamma)


def test_a_process_may_replace_nothing_after_rounding():
    """Each step replaces less than float64 sees in the whole, whose rate for codes is 0."""
    alpha, gamma = (
        (0.5434944733810508, 0.07068377644454571),
        (0.4565055266189491, 0.9293162235554543),
    )
    process = MaskAndReplace(5, 2, alpha, gamma)
    assert float(process.rates(torch.tensor(0), torch.tensor(2)).beta) == 0
    assert process.prior_divergence() == pytest.approx(alpha[1] * math.log(5))


def test_no_token_is_masked_at_the_end_of_the_way_back():
    """Also where masks are so rare at time 1 that 1 - gamma is 1."""
    process = MaskAndReplace(4, 3, (0.9, 0.05), (1e-20, 0.7))
    found = process.step_back(torch.randn(2, 50, 4), torch.full((2, 50), 4), 0, 1)
    assert int(found.max()) < 4


def _times(begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([begin]), torch.tensor([end])

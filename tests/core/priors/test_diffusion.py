"""The discrete diffusion prior: its bound, its timesteps and its additions."""

from __future__ import annotations

import math

import pytest
import torch

from tests.core.priors.small_priors import built, seeded


def test_bits_of_the_diffusion_prior_are_the_variational_bound():
    prior = built("diffusion", timesteps=6, alpha=(0.9, 0.05), gamma=(0.05, 0.8))
    ids = torch.randint(6, (1, 3, 4))
    process = prior.process
    with torch.no_grad():
        found = torch.stack([prior.loss(ids.expand(600, -1, -1))["bits"] for _ in range(4)])
        # Term by term, each with its own draws.
        total = process.prior_divergence()
        clean = ids.flatten(1).expand(800, -1)
        context = prior.network.context(None, 800)
        for t in range(1, 7):
            time = torch.full((800,), t)
            now = process.corrupt(clean, time, None)
            log_p = prior.network(now, context, time=time / 6).log_softmax(2)
            total += float(process.divergence(log_p, clean, now, time - 1, time).mean())
    assert float(found.mean()) == pytest.approx(total / math.log(2), rel=0.03)


def test_focus_gives_the_noisy_end_more_weight(monkeypatch):
    prior = built("diffusion", timesteps=2, focus=4.0, alpha=(0.9, 0.05), gamma=(0.05, 0.8))
    monkeypatch.setattr(  # a divergence of t nats
        prior.process,
        "divergence",
        lambda log_p, clean, now, begin, end: end[:, None].expand_as(clean).float(),
    )
    found = prior.loss(torch.zeros(2, 3, 4, dtype=torch.int64))  # both times, once each
    bound = 1 + 2
    assert float(found["variational"]) == pytest.approx((1 * 1.5 + 2 * 5) / 2)
    assert float(found["bits"]) == pytest.approx(
        (bound + prior.process.prior_divergence()) / math.log(2)
    )


def test_timesteps_are_drawn_in_proportion_to_their_losses():
    prior = built("diffusion", timesteps=5).train()
    even = prior._draw_times(40, None, torch.device("cpu"))[1]
    torch.testing.assert_close(even, torch.full((40,), 0.2))
    prior.draws.fill_(11)
    prior.squares.copy_(torch.tensor([100.0, 1.0, 4.0, 9.0, 16.0]))
    time, chance = prior._draw_times(100_000, seeded(), torch.device("cpu"))
    want = torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0]) / 11  # the first as the second
    torch.testing.assert_close(chance, want[time - 1])
    torch.testing.assert_close(torch.bincount(time)[1:] / 100_000, want, atol=1e-3, rtol=0)
    prior._record(torch.tensor([2, 2, 5]), torch.tensor([1.0, 3.0, 2.0]))
    assert prior.squares.tolist() == pytest.approx([100, 0.9 + 0.1 * 5, 4, 9, 14.4 + 0.4])
    assert prior.draws.tolist() == [11, 13, 11, 11, 12]


def test_diffusion_starts_from_noise_for_any_number_of_steps():
    prior = built("diffusion", timesteps=20)
    seen = []
    hook = prior.network.register_forward_pre_hook(
        lambda _, given, named: seen.append((given[0].clone(), float(named["time"][0]))),
        with_kwargs=True,
    )
    for steps in (1, 3, 20):
        seen.clear()
        assert len(list(prior.sample(n=2, steps=steps))) == steps
        assert seen[0][1] == 1.0
        assert bool((seen[0][0] == 6).all())
        assert len(seen) == steps
    hook.remove()


def test_stay_applies_only_to_tokens_that_are_not_masked():
    plain, staying = built("diffusion"), built("diffusion", stay=20.0)
    now = torch.tensor([[0, 5, 6, 6, 3, 6, 6, 6, 1, 6, 6, 6]])
    time, context = torch.tensor([70]), plain.network.context(None, 1)
    with torch.no_grad():
        more = staying._logits(now, context, time) - plain._logits(now, context, time)
    want = torch.zeros(1, 12, 6)
    for cell, code in enumerate(now[0].tolist()):
        if code < 6:
            want[0, cell, code] = 20
    torch.testing.assert_close(more, want)
    # An untrained network would predict other codes for most visible tokens, at a high cost.
    ids = torch.randint(6, (64, 3, 4), generator=seeded())
    with torch.no_grad():
        bits = [float(prior.loss(ids, generator=seeded())["bits"]) for prior in (staying, plain)]
    assert 2 < bits[0] < 0.5 * bits[1]


def test_only_training_records_the_losses_of_timesteps():
    prior = built("diffusion", timesteps=4, alpha=(0.9, 0.05), gamma=(0.05, 0.8))
    ids = torch.randint(6, (8, 3, 4), generator=seeded())
    prior.loss(ids, generator=seeded())
    assert not prior.draws.any() and not prior.squares.any()
    prior.train()
    for _ in range(3):
        losses = prior.loss(ids, generator=seeded(1))
    assert int(prior.draws.sum()) == 24 and prior.draws.tolist() == [6, 6, 6, 6]
    assert not prior.squares.requires_grad and not losses["bits"].requires_grad
    assert (prior.squares > 0).all()
    # The same draws three times: squares are (1 - 0.9^3) times the mean square of the losses.
    again = built("diffusion", timesteps=4, alpha=(0.9, 0.05), gamma=(0.05, 0.8)).train()
    again.loss(ids, generator=seeded(1))
    torch.testing.assert_close(prior.squares, again.squares * (1 - 0.9**3) / 0.1)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_steps_show_only_tokens_that_are_drawn(steps: int):
    prior = built("diffusion", timesteps=20, alpha=(0.9, 0.05), gamma=(0.05, 0.8))
    shown = list(prior.sample(n=40, steps=steps, generator=seeded()))
    assert [(step.done, step.total) for step in shown] == [(i + 1, steps) for i in range(steps)]
    for step in shown:
        assert int(step.ids.min()) >= -1 and int(step.ids.max()) < 6
    hidden = [int((step.ids < 0).sum()) for step in shown]
    assert hidden[-1] == 0 and (steps < 3 or hidden[0] > 40)
    known = torch.full((3, 4), -1)
    known[1] = torch.tensor([0, 5, 1, 0])
    for step in prior.sample(n=4, steps=steps, generator=seeded(), known=known):
        assert (step.ids[:, 1] == known[1]).all()

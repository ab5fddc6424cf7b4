"""The masked prior: its bound and its schedule."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chi2

from core.priors.masked import sample_masked
from core.priors.options import ResolvedOptions
from tests.core.priors.small_priors import built, seeded


def test_bits_of_the_masked_prior_bound_the_likelihood():
    # With a network that predicts only the share of each code, all orders give the same bound.
    prior = built("masked")
    with torch.no_grad():
        prior.network.head.weight.zero_()
        prior.network.head.bias.copy_(torch.tensor([0.5, 0.2, 0.1, 0.1, 0.05, 0.05]).log())
    ids = torch.zeros(5, 3, 4, dtype=torch.int64)
    for training in (False, True):
        prior.train(training)
        found = torch.stack([prior.loss(ids)["bits"] for _ in range(400 if training else 1)])
        assert float(found.mean()) == pytest.approx(1.0, rel=0.05 if training else 1e-5)


def test_masked_decoding_follows_the_cosine():
    prior = built("masked")
    left = [int((s.ids < 0).sum()) for s in prior.sample(n=1, steps=4, generator=seeded())]
    assert left == [math.floor(12 * math.cos(math.pi / 2 * i / 4) + 1e-9) for i in (1, 2, 3)] + [0]
    each = [int((s.ids < 0).sum()) for s in prior.sample(n=1, steps=12, generator=seeded())]
    assert each == sorted(set(each), reverse=True)


@pytest.mark.parametrize(("training", "at"), [(False, 1.0), (True, 0.0)])
def test_at_most_all_tokens_are_masked(monkeypatch, training: bool, at: float) -> None:
    """float32 rounds the share of the last picture up to 1, and the cosine of 0 is 1."""
    monkeypatch.setattr(
        "core.priors.masked.spread_uniform", lambda rows, *_: torch.full((rows,), at)
    )
    prior = built("masked", label_smoothing=0.0).train(training)
    with torch.no_grad():
        prior.network.head.weight.zero_()
        prior.network.head.bias.copy_(torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]).log())
    found = prior.loss(torch.zeros(5, 3, 4, dtype=torch.int64))
    assert float(found["masked"].detach()) == pytest.approx(math.log(2))
    assert float(found["bits"]) == pytest.approx(0 if training else 1)


def test_few_tokens_to_draw_take_few_steps() -> None:
    """The picture with the most of them decides on the number of steps."""
    prior, known = built("masked"), torch.ones(2, 3, 4, dtype=torch.int64)
    for first, second, steps in ((2, 3, 3), (0, 1, 1), (0, 0, 1), (5, 2, 4)):
        known[:] = 1
        known[0].view(-1)[:first], known[1].view(-1)[:second] = -1, -1
        shown = list(prior.sample(n=2, known=known, steps=4, generator=seeded()))
        assert [(step.done, step.total) for step in shown] == [
            (done, steps) for done in range(1, steps + 1)
        ]
        assert int(shown[-1].ids.min()) >= 0


class Sure:
    """A network that is the surer of code 1 the later the cell, whatever the tokens are."""

    codes, levels, device = 2, 1, torch.device("cpu")

    def __init__(self, leads: torch.Tensor) -> None:
        self.logits = torch.stack([torch.zeros_like(leads), leads], -1)

    def context(self, *_: object, **__: object) -> None:
        return None

    def __call__(self, ids: torch.Tensor, context: None) -> torch.Tensor:
        return self.logits.expand(len(ids), -1, -1)

    def token_logits(self, found: torch.Tensor, level: int) -> torch.Tensor:
        return found


@pytest.mark.parametrize("choice", [0.8, 3.0])
def test_the_token_that_is_kept_first_follows_the_gumbel_noise(choice: float) -> None:
    """Of three tokens, the first of two steps keeps one: the largest log p + choice / 2 * Gumbel.

    By the Gumbel-max rule its distribution is the softmax of 2 log p / choice. Noise of the other
    sign would keep the tokens that a minimum of Gumbel numbers chooses, which differs from three
    tokens on.
    """
    leads, pictures = torch.tensor([0.5, 1.5, 4.0]), 8000
    options = ResolvedOptions(n=pictures, grid=(1, 3), steps=2, temperature=0.0, generator=seeded())
    first, last = sample_masked(Sure(leads), None, options, choice)
    kept = first.ids[:, 0] >= 0
    assert (kept.sum(1) == 1).all() and (last.ids == 1).all()
    log_p = torch.nn.functional.logsigmoid(leads.double())
    wanted = (2 * log_p / choice).softmax(0) * pictures
    statistic = float(((kept.sum(0) - wanted) ** 2 / wanted).sum())
    assert chi2.sf(statistic, 2) > 1e-3, (kept.sum(0).tolist(), wanted.tolist())

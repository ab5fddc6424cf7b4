"""The masked prior: its bound and its schedule."""

from __future__ import annotations

import math

import pytest
import torch

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

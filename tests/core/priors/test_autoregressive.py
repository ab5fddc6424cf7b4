"""The autoregressive prior: likelihood, cache, and the position of conditions."""

from __future__ import annotations

import math

import pytest
import torch

from core.priors.categorical import seeded as each_seeded
from tests.core.priors.small_priors import BOTH, built, conditions_of, seeded


def test_known_tokens_at_the_start_count_as_drawn_ones():
    prior = built("autoregressive")
    ids = prior.generate(n=2, generator=seeded())
    known = ids.clone()
    known[:, 1:, 2:] = -1
    again = prior.generate(n=2, known=known, temperature=0.0)
    flat = known.flatten(1)
    for cell in range(12):
        logits = prior.logits(again)[:, cell]
        if int(flat[0, cell]) < 0:
            assert torch.equal(again.flatten(1)[:, cell], logits.argmax(1))


def test_guided_logits_are_the_formula():
    prior = built("autoregressive", BOTH)
    ids = prior.generate(conditions_of(2), 2, guidance=2.5, temperature=0.0)
    with torch.no_grad():
        given, null = prior.logits(ids, conditions_of(2)), prior.logits(ids)
    assert torch.equal((null + 2.5 * (given - null)).argmax(2), ids.flatten(1))


def test_bits_of_the_autoregressive_prior_are_exact():
    prior, ids = built("autoregressive", BOTH), torch.randint(6, (3, 3, 4))
    found = prior.loss(ids, conditions_of(3))
    log_p = prior.logits(ids, conditions_of(3)).double().log_softmax(2)
    nll = -log_p.gather(2, ids.flatten(1)[..., None]).mean()
    assert float(found["bits"]) == pytest.approx(float(nll) / math.log(2), rel=1e-5)
    assert float(found["nll"]) == pytest.approx(float(nll), rel=1e-5)


def test_draws_with_a_cache_equal_those_of_the_full_pass():
    prior = built("autoregressive", BOTH)
    ids = prior.generate(conditions_of(2), 2, temperature=0.0)
    assert torch.equal(prior.logits(ids, conditions_of(2)).argmax(2), ids.flatten(1))


@pytest.mark.parametrize("grid", [(2, 6), (5, 3)])
def test_logits_are_those_of_the_grid_of_the_ids(grid):
    prior = built("autoregressive", BOTH)
    ids = prior.generate(conditions_of(2), 2, grid=grid, temperature=0.0)
    assert torch.equal(prior.logits(ids, conditions_of(2)).argmax(2), ids.flatten(1))


@pytest.mark.parametrize("begin", [1, 5])
@torch.no_grad()
def test_static_steps_equal_the_plain_ones(begin):
    """The steps that a GPU replays as a graph compute the same logits as the plain ones."""
    prior = built("autoregressive", BOTH)
    network, ids = prior.network, torch.randint(6, (2, 12))
    context = network.context(conditions_of(2), 2)
    plain, static = (network.decoder(context, 2, 12, static=way) for way in (False, True))
    torch.testing.assert_close(static(ids[:, :begin]), plain(ids[:, :begin]))
    for at in range(begin, 12):
        now = ids[:, at : at + 1]
        torch.testing.assert_close(static(now), plain(now), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_draws_the_same_as_the_cpu():
    prior = built("autoregressive", BOTH)
    expected = prior.generate(conditions_of(3), 3, generator=each_seeded(5, 3), guidance=2.0)
    prior = prior.cuda()
    on_gpu = conditions_of(3).to(torch.device("cuda"))
    found = prior.generate(on_gpu, 3, generator=each_seeded(5, 3), guidance=2.0)
    assert float((found.cpu() == expected).float().mean()) > 0.9  # rounding may move a draw
    again = prior.generate(on_gpu, 3, generator=each_seeded(5, 3), guidance=2.0)
    assert torch.equal(again, found)


def test_an_autoregressive_cell_depends_most_on_its_own_class():
    prior = built("autoregressive", BOTH)
    ids = torch.randint(6, (1, 3, 4))
    other = conditions_of(1)
    other.segmentation[0, 2, 1] = (other.segmentation[0, 2, 1] + 1) % 3
    change = (prior.logits(ids, conditions_of(1)) - prior.logits(ids, other)).abs().amax((0, 2))
    assert int(change.argmax()) == 9

"""The network of the discrete priors."""

from __future__ import annotations

import pytest
import torch

from core.priors import AutoregressiveConfig
from core.priors.network import TokenNetwork
from tests.core.priors.small_priors import SMALL, built, seeded


def test_similar_codes_are_initialized_similarly():
    torch.manual_seed(0)
    network = built("masked", ()).network
    codes = torch.randn(network.codes, 6)
    codes[3] = codes[2] + 0.01
    unknown = network.embed.weight[-1].clone()
    network.init_from_codebook(codes, seeded())
    for weight in (network.embed.weight[: network.codes], network.head.weight):
        apart = torch.cdist(weight, weight) / torch.cdist(weight, weight).mean()
        assert apart[2, 3] < 0.05 < apart[2, 4]
        # Distances are those of the codes, up to the error of a random projection.
        pairs = torch.stack([apart.flatten(), torch.cdist(codes, codes).flatten()])
        assert torch.corrcoef(pairs)[0, 1] > 0.8
    assert torch.equal(network.embed.weight[-1], unknown)


def test_a_cpu_draws_by_plain_steps(monkeypatch):
    def static(*_):
        raise AssertionError("steps of a GPU")

    monkeypatch.setattr(TokenNetwork, "_static_step", static)
    assert built("autoregressive").generate(generator=seeded()).shape == (1, 3, 4)


@pytest.mark.parametrize(("levels", "shape"), [(1, (5,)), (2, (5, 2)), (3, (5, 3))])
@torch.no_grad()
def test_steps_are_captured_with_ids_of_all_levels(levels, shape, monkeypatch):
    examples = []
    monkeypatch.setattr(
        "core.priors.network.capture_graph",
        lambda step, example, position: examples.append(example) or step,
    )
    network = AutoregressiveConfig(**SMALL, levels=levels).build().network
    step = network.decoder(network.context(None, 5), 5, 12, static=True)
    step(torch.zeros(*shape, 1, dtype=torch.int64))
    (example,) = examples
    assert example.shape == shape and example.dtype == torch.int64

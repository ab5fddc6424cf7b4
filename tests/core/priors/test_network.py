"""The network of the discrete priors."""

from __future__ import annotations

import torch

from tests.core.priors.small_priors import built, seeded


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

"""Small untrained priors of every kind, and their conditions."""

from __future__ import annotations

from functools import partial

import torch

from core.conditions import Condition, LabelConfig, SemanticConfig
from core.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    MaskedConfig,
    Prior,
)
from core.priors.categorical import seeded as each_seeded

SMALL = {"codebook_size": 6, "grid": (3, 4), "width": 32, "layers": 2, "heads": 2}
BOTH = (SemanticConfig(classes=3, width=8), LabelConfig(classes=2))
DISCRETE = {
    "autoregressive": AutoregressiveConfig,
    "diffusion": DiffusionConfig,
    "masked": MaskedConfig,
}
KINDS = DISCRETE | {
    "diffusion in patches": partial(DiffusionConfig, patch=2),
    "masked in patches": partial(MaskedConfig, patch=2),
}


def built(kind: str, conditions=(), **settings) -> Prior:
    torch.manual_seed(0)
    prior = KINDS[kind](**SMALL | settings, conditions=conditions).build().eval()
    with torch.no_grad():  # the head of an untrained network is nearly zero
        prior.network.head.weight.normal_(std=0.5)
        for name, parameter in prior.named_parameters():
            if "modulat" in name:
                parameter.normal_(std=0.2)
    return prior


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def conditions_of(rows: int) -> Condition:
    maps = torch.arange(12).view(1, 3, 4) % 3
    return Condition(segmentation=maps, labels=torch.tensor([1])).repeat(rows)


def same_alone_as_among_others(prior: Prior, **how) -> None:
    """Check that picture i of a batch is that of its seed alone, and that seeds differ."""
    known, whole = how.pop("known", None), conditions_of(4)
    given = {} if known is None else {"known": known}
    batch = prior.generate(whole, 4, generator=each_seeded(7, 4), **given, **how)
    for i in (3, 0):
        given = {} if known is None else {"known": known[i]}
        alone = prior.generate(conditions_of(1), 1, generator=each_seeded(7 + i, 1), **given, **how)
        torch.testing.assert_close(alone[0], batch[i], atol=1e-4, rtol=1e-4)
    assert len({str(picture.tolist()) for picture in batch}) == 4

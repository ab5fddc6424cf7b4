"""Priors that draw a semantic map before the tokens of the picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.conditions import Condition, LabelConfig, SemanticConfig, TextConfig
from core.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    LayoutConfig,
    MaskedConfig,
    PlannedPrior,
)
from core.priors.categorical import seeded as each_seeded

CLASSES = 3
TINY = LayoutConfig(width=32, layers=1, heads=2)
SMALL = {
    "codebook_size": 6, "grid": (4, 4), "width": 32, "layers": 1, "heads": 2, "layout": TINY,
    "conditions": (SemanticConfig(classes=CLASSES, width=8), LabelConfig(classes=2)),
}  # fmt: skip
KINDS = {
    "autoregressive": AutoregressiveConfig(**SMALL),
    "diffusion": DiffusionConfig(**SMALL, timesteps=9),
    "masked": MaskedConfig(**SMALL),
}
FIRST = Condition(labels=torch.tensor([0]))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=KINDS)
def prior(request) -> PlannedPrior:
    torch.manual_seed(0)
    built = KINDS[request.param].build().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.3)
    return built


def test_the_map_is_drawn_first_and_conditions_the_picture(prior, monkeypatch):
    conditions = []
    sample = type(prior.tokens)._sample
    monkeypatch.setattr(
        type(prior.tokens),
        "_sample",
        lambda self, condition, options: (
            conditions.append(condition) or sample(self, condition, options)
        ),
    )
    steps = list(prior.sample(FIRST, 3, generator=seeded()))
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    maps, rest = steps[:4], steps[4:]  # one row of cells per step
    assert all(int(step.ids.max()) == -1 for step in maps)
    left = [int((step.layout == -1).sum()) for step in maps]
    assert left == [36, 24, 12, 0]
    final = maps[-1].layout
    assert set(final.unique().tolist()) <= {*range(CLASSES), 255}
    assert all(torch.equal(step.layout, final) for step in rest)
    assert int(rest[-1].ids.min()) >= 0
    # The map is conditioned on the label, the picture on both.
    last = conditions[-1]
    assert torch.equal(last.segmentation, final) and last.labels.tolist() == [0, 0, 0]


def test_a_picture_equals_that_of_its_map_given_as_condition(prior):
    noise = seeded(3)
    options = {"guidance": 2.0, "top_p": 0.9}
    whole = list(prior.sample(FIRST, 1, generator=seeded(3), **options))[-1]
    for _ in prior.layout.prior.sample(FIRST, 1, generator=noise, **options):
        pass
    condition = replace(FIRST, segmentation=whole.layout)
    assert torch.equal(prior.generate(condition, 1, generator=noise, **options), whole.ids)


def test_each_picture_and_its_map_have_their_own_seed(prior):
    batch = list(prior.sample(FIRST, 3, generator=each_seeded(7, 3)))[-1]
    alone = list(prior.sample(FIRST, 1, generator=each_seeded(8, 1)))[-1]
    assert torch.equal(alone.layout[0], batch.layout[1])
    assert torch.equal(alone.ids[0], batch.ids[1])


def test_no_map_is_drawn_for_a_given_map_or_known_ids(prior):
    plan = torch.zeros(1, 4, 4, dtype=torch.int64)
    known = torch.full((4, 4), -1)
    known[0] = 2
    for condition, options in ((Condition(segmentation=plan), {}), (FIRST, {"known": known})):
        steps = list(prior.sample(condition, 1, generator=seeded(), **options))
        assert all(step.layout is None for step in steps)
        plain = replace(prior.config, layout=None).build().eval()
        plain.load_state_dict(prior.state_dict(), strict=False)
        ids = plain.generate(condition, 1, generator=seeded(), **options)
        assert torch.equal(steps[-1].ids, ids)


def test_without_a_condition_a_map_is_drawn_too(prior):
    last = list(prior.sample(n=2, generator=seeded()))[-1]
    assert last.layout.shape == last.ids.shape == (2, 4, 4)
    bigger = list(prior.sample(n=1, generator=seeded(), grid=(2, 6)))[-1]
    assert bigger.layout.shape == bigger.ids.shape == (1, 2, 6)


def test_the_loss_of_maps_is_that_of_their_cells(prior):
    ids = torch.randint(6, (2, 4, 4), generator=seeded())
    pixels = torch.full((2, 8, 8), 255)
    pixels[0, :, :4], pixels[1, 4:, 1::2] = 1, 2  # the second: ties in cells, the lower class wins
    pixels[1, 4:, ::2] = 0
    cells = torch.full((2, 4, 4), CLASSES)
    cells[0, :, :2], cells[1, 2:] = 1, 0
    labels = torch.tensor([0, 1])
    noise = seeded(1)
    found = prior.loss(ids, Condition(segmentation=pixels, labels=labels), noise)
    again = seeded(1)
    prior.tokens._loss(ids, Condition(segmentation=pixels, labels=labels), again)
    wanted = prior.layout.prior.loss(cells, Condition(labels=labels), again)
    torch.testing.assert_close(found["layout"], wanted["nll"])
    torch.testing.assert_close(found["layout_bits"], wanted["bits"])
    assert not any("layout" in name for name in prior.loss(ids, Condition(labels=labels)))


def test_the_prior_of_maps_needs_its_vocabulary_too():
    text = TextConfig(width=32, layers=1, heads=2, vocabulary=8)
    conditions = (SemanticConfig(classes=CLASSES, width=8), text)
    prior = MaskedConfig(**SMALL | {"conditions": conditions}).build()
    ids, condition = torch.zeros(1, 4, 4, dtype=torch.int64), Condition(texts=("a tree",))
    prior.tokens.learn_vocabulary(["a tree"])
    with pytest.raises(ValueError, match="no vocabulary yet"):
        prior.loss(ids, condition)
    prior.learn_vocabulary(["a tree"])
    prior.loss(ids, condition)


@pytest.mark.slow
def test_maps_are_learned_with_the_pictures():
    torch.manual_seed(0)
    config = DiffusionConfig(**SMALL | {"drop": 0.0}, timesteps=20)
    prior = config.build()
    optimizer = torch.optim.AdamW(prior.parameters(), lr=5e-3)
    maps = torch.zeros(2, 4, 4, dtype=torch.int64)
    maps[0, :, 2:], maps[1, :2] = 1, 2
    ids, labels = maps + 3, torch.tensor([0, 1])
    condition = Condition(segmentation=maps, labels=labels).repeat(4)
    noise = seeded()
    for _ in range(400):
        losses = prior.loss(ids.repeat(4, 1, 1), condition, noise)
        optimizer.zero_grad()
        sum(loss for name, loss in losses.items() if not name.endswith("bits")).backward()
        optimizer.step()
    last = list(prior.eval().sample(Condition(labels=labels).repeat(4), 8, generator=seeded()))[-1]
    for drawn, wanted in ((last.layout, maps), (last.ids, ids)):
        assert float((drawn == wanted.repeat(4, 1, 1)).float().mean()) > 0.95


def test_a_layout_needs_a_semantic_condition_without_shares():
    conditions = (LabelConfig(classes=2),)
    with pytest.raises(ValueError, match="the prior has none"):
        DiffusionConfig(layout=TINY, conditions=conditions)
    with pytest.raises(ValueError, match=r"semantic\.shares false"):
        MaskedConfig(layout=TINY, conditions=(SemanticConfig(classes=3, shares=True),))


def test_top_k_1_draws_the_most_likely_map_too(prior):
    first, second = (
        list(prior.sample(FIRST, 2, generator=seeded(seed), top_k=1)) for seed in (0, 1)
    )
    assert torch.equal(first[-1].layout, second[-1].layout)

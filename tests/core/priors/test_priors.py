"""The contract of every prior."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from core.conditions import Condition, LabelConfig
from core.priors import (
    PRIORS,
    AutoregressiveConfig,
    DiffusionConfig,
    LatentConfig,
    MaskedConfig,
)
from core.priors.categorical import SEEDS, classifier_free_guidance, seeds
from core.priors.categorical import seeded as each_seeded
from tests.core.priors.small_priors import (
    BOTH,
    DISCRETE,
    KINDS,
    SMALL,
    built,
    conditions_of,
    same_alone_as_among_others,
    seeded,
)


def test_every_prior_is_covered():
    assert set(DISCRETE) | {"latent"} == set(PRIORS)


def test_steps_lead_to_a_complete_picture(kind):
    prior = built(kind)
    steps = list(prior.sample(n=3, generator=seeded()))
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    drawn = [int((step.ids >= 0).sum()) for step in steps]
    assert drawn == sorted(drawn)
    last = steps[-1].ids
    assert last.shape == (3, 3, 4)
    assert last.dtype == torch.int64
    assert 0 <= int(last.min()) <= int(last.max()) < 6
    assert torch.equal(prior.generate(n=3, generator=seeded()), last)
    assert not torch.equal(prior.generate(n=3, generator=seeded(1)), last)


def test_each_picture_has_its_own_seed(kind):
    prior = built(kind, BOTH)
    for how in ({}, {"guidance": (1.0, 3.0), "top_p": 0.9}, {"temperature": 1.3, "top_k": 5}):
        same_alone_as_among_others(prior, **how)
    # Pictures in which different cells, and different numbers of cells, are known.
    known = torch.full((4, 3, 4), -1)
    known[0, 0], known[1, 1:] = torch.tensor([1, 2, 3, 4]), 5
    known[3, 0, :2], known[3, 2, 1] = 4, 0
    same_alone_as_among_others(prior, known=known, guidance=2.0)


def test_seeds_of_pictures_are_consecutive():
    assert seeds(5, 3) == [5, 6, 7]
    assert seeds(SEEDS - 1, 2) == [SEEDS - 1, 0]


def test_too_few_generators_are_refused(kind):
    with pytest.raises(ValueError, match="one for each of the 3 pictures, got 2"):
        built(kind).sample(n=3, generator=each_seeded(0, 2))


def test_sampling_can_be_stopped_early(kind):
    prior = built(kind)
    steps = prior.sample(n=1, generator=seeded())
    next(steps)
    steps.close()
    assert torch.is_grad_enabled()
    assert list(steps) == []


def test_known_ids_are_kept(kind):
    prior = built(kind, BOTH)
    known = torch.full((2, 3, 4), -1)
    known[0, 1, 1:3] = torch.tensor([5, 0])
    known[1, 0] = 2
    for step in prior.sample(conditions_of(2), 2, known=known, guidance=2.0, generator=seeded()):
        assert torch.equal(step.ids[1, 0], known[1, 0]) or kind == "autoregressive"
    assert torch.equal(step.ids[known >= 0], known[known >= 0])
    assert int(step.ids.min()) >= 0
    whole = torch.arange(12).view(3, 4) % 6
    assert torch.equal(prior.generate(n=2, known=whole), whole.expand(2, -1, -1))
    nothing = torch.full((3, 4), -1)
    free = prior.generate(n=2, known=nothing, generator=seeded())
    assert torch.equal(free, prior.generate(n=2, generator=seeded()))


def test_other_grids(kind):
    prior = built(kind, BOTH)
    assert prior.generate(conditions_of(1), 2, grid=(4, 5)).shape == (2, 4, 5)
    assert prior.loss(torch.zeros(2, 2, 3, dtype=torch.int64), conditions_of(2))["bits"].isfinite()


def test_guidance(kind):
    prior = built(kind, BOTH)

    def run(condition, guidance, seed=0):
        return prior.generate(condition, 4, guidance=guidance, generator=seeded(seed))

    plain = prior.generate(conditions_of(4), 4, generator=seeded())
    assert torch.equal(run(conditions_of(4), 1.0), plain)
    assert torch.equal(run(conditions_of(4), 0.0), run(None, 1.0))
    assert not torch.equal(run(conditions_of(4), 3.0), plain)


def test_a_pair_of_guidances_changes_from_the_first_step_to_the_last(kind, monkeypatch):
    scales = []

    def noted(logits, scale):
        scales.append(float(torch.as_tensor(scale).flatten()[0]))
        return classifier_free_guidance(logits, scale)

    for module in ("autoregressive", "diffusion", "masked"):
        monkeypatch.setattr(f"core.priors.{module}.classifier_free_guidance", noted)
    prior = built(kind, BOTH)
    prior.generate(conditions_of(1), 1, guidance=(1.0, 3.0), generator=seeded())
    steps = len(scales)
    assert steps > 2 and scales == pytest.approx([1 + 2 * i / (steps - 1) for i in range(steps)])


def test_a_picture_can_be_extended_beyond_its_edges(kind):
    known = torch.full((6, 8), -1)
    known[2:5, 2:6] = torch.arange(12).view(3, 4) % 6
    drawn = built(kind).generate(n=2, known=known, generator=seeded())
    assert drawn.shape == (2, 6, 8) and int(drawn.min()) >= 0
    assert torch.equal(drawn[:, 2:5, 2:6], known[2:5, 2:6].expand(2, 3, 4))


def test_loss_has_a_gradient_for_every_weight(kind):
    prior = built(kind, BOTH, drop=0.5).train()
    terms = prior(torch.randint(6, (8, 3, 4)), conditions_of(8), seeded())
    assert not terms["bits"].requires_grad
    sum(value for name, value in terms.items() if name != "bits").backward()
    assert [name for name, p in prior.named_parameters() if p.grad is None] == []


def test_loss_is_repeatable_and_ignores_unused_conditions(kind):
    prior, ids = built(kind, (LabelConfig(classes=2),)).train(), torch.randint(6, (4, 3, 4))
    one = prior.loss(ids, Condition(labels=conditions_of(4).labels), seeded())
    two = prior.loss(ids, conditions_of(4), seeded())
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}


def toy(rows: int, generator: torch.Generator) -> tuple[torch.Tensor, Condition]:
    """Draw ids with an entropy of log2(3) / 12 bits per token, and their conditions.

    Label 0: all cells have one of the ids 0, 1, 2; label 1: one of 3, 4, 5. Where the map is 2, it
    is the next id.
    """
    labels = torch.randint(2, (rows,), generator=generator)
    base = torch.randint(3, (rows,), generator=generator)
    maps = torch.randint(3, (rows, 3, 4), generator=generator)
    ids = 3 * labels[:, None, None] + (base[:, None, None] + (maps == 2)) % 3
    return ids, Condition(segmentation=maps, labels=labels)


@pytest.mark.parametrize(
    "kind",
    ["masked", *(pytest.param(kind, marks=pytest.mark.long)
                 for kind in ("autoregressive", "diffusion", "diffusion in patches"))],
)  # fmt: skip
@pytest.mark.slow
def test_learns_a_small_data_set(kind):
    settings = {"label_smoothing": 0.0} if kind == "masked" else {}
    if kind.startswith("diffusion"):
        settings = {"timesteps": 20, "alpha": (0.98, 0.001), "gamma": (0.01, 0.99)}
    torch.manual_seed(0)
    prior = KINDS[kind](**SMALL | settings, conditions=BOTH, drop=0.1).build()
    optimizer = torch.optim.AdamW(prior.parameters())
    # The masked prior is long in finding out that cells resemble one another.
    generator, rounds = seeded(), {"autoregressive": 120, "diffusion": 300}.get(kind, 420)
    for step in range(rounds):
        ids, condition = toy(64, generator)
        terms = prior.loss(ids, condition, generator)
        rate = min(1.0, (step + 1) / 10, 2 * (1 - step / rounds))
        optimizer.param_groups[0]["lr"] = 6e-3 * rate
        optimizer.zero_grad()
        sum(value for name, value in terms.items() if name != "bits").backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
    prior.eval()
    with torch.no_grad():
        ids, condition = toy(512, generator)
        bits = float(prior.loss(ids, condition, generator)["bits"])
    least = math.log2(3) / 12
    assert least - 0.05 < bits < least + (0.35 if kind.startswith("diffusion") else 0.15)
    _, condition = toy(64, generator)
    drawn = prior.generate(condition, 64, generator=generator)
    base = (drawn - 3 * condition.labels[:, None, None] - (condition.segmentation == 2).int()) % 3
    right = (base == base[:, :1, :1]) & (drawn // 3 == condition.labels[:, None, None])
    # Tokens of one patch that are drawn in one step are drawn independently.
    assert float(right.float().mean()) > (0.8 if "patches" in kind else 0.9)
    assert len(base[:, 0, 0].unique()) == 3  # not always the same


@pytest.mark.parametrize("kind", DISCRETE)
@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"n": 0}, "n must"),
        ({"guidance": math.nan}, "guidance"),
        ({"guidance": (1.0, math.inf)}, "guidance"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": -3}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"steps": 0}, "step"),
        ({"steps": 1_000_000}, "step"),
        ({"grid": (0, 4)}, "grid"),
        ({"grid": (4096, 4096)}, "grid"),
        ({"known": torch.full((3, 4), 6)}, "known"),
        ({"known": torch.zeros(3, 4)}, "known"),
        ({"known": torch.zeros(3, 4, dtype=torch.int64), "grid": (4, 4)}, "known"),
        ({"condition": Condition(texts=("a tree",))}, "takes no text"),
    ],
)
def test_invalid_options_are_named(kind, how, word):
    with pytest.raises(ValueError, match=word) as caught:
        built(kind).sample(**how)
    assert "\n" not in str(caught.value)


def test_ids_of_another_tokenizer_are_refused(kind):
    with pytest.raises(ValueError, match="from 0 to 5, got 0 to 6"):
        built(kind).loss(torch.tensor([[[0, 6]]]))


def test_invalid_sizes_are_named():
    for config, settings in (
        (AutoregressiveConfig, {"codebook_size": 0}),
        (MaskedConfig, {"label_smoothing": 1.0}),
        (DiffusionConfig, {"timesteps": 0}),
        (DiffusionConfig, {"stay": -1.0}),
        (DiffusionConfig, {"focus": math.nan}),
        (MaskedConfig, {"patch": 0}),
        (LatentConfig, {"grid": (6, 6)}),
        (LatentConfig, {"width": 20}),
        (LatentConfig, {"betas": (1e-4, 2e-2), "timesteps": 50}),
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            config(**settings)


def test_a_missing_label_is_unconditional(kind):
    prior = built(kind, (LabelConfig(classes=2),))
    missing = Condition(labels=torch.tensor([-1, -1]))
    found = prior.generate(missing, 2, generator=seeded())
    assert torch.equal(found, prior.generate(None, 2, generator=seeded()))
    assert F.one_hot(found, 6).shape[-1] == 6


@pytest.mark.parametrize(
    ("labels", "words"), [([0, 2], "labels must be from 0 to 1"), ([0, 1, 0], "as many as the 2")]
)
def test_training_refuses_conditions_that_do_not_fit(kind, labels, words):
    ids = torch.zeros(2, 3, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=words):
        built(kind, (LabelConfig(classes=2),)).loss(ids, Condition(labels=torch.tensor(labels)))

"""Priors over several ids per position: exact distributions, losses, known tokens and refusals."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from core.conditions import Condition, SemanticConfig
from core.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    LayoutConfig,
    MaskedConfig,
    Prior,
    describe_prior,
    prior_config,
)
from core.priors.levels import LevelEmbedding, LevelHeads
from tests.core.priors.small_priors import seeded
from tests.core.priors.test_enumerated import (
    LABELS,
    Distribution,
    assert_follows,
    built,
    draw,
    guided,
    labels,
    truncated,
)

SMALL = {"grid": (1, 2), "width": 16, "layers": 1, "heads": 2}
TINY = {**SMALL, "codebook_size": 2, "levels": 2, "conditions": LABELS}


@pytest.mark.parametrize(
    ("label", "guidance", "options"),
    [
        (None, (1.0, 1.0), {}),
        (1, (0.0, 3.0), {"temperature": 1.5}),
        (0, (2.0, 2.0), {"top_p": 0.8}),
    ],
)
def test_autoregressive_draws_levels_in_turn(
    label: int | None, guidance: tuple[float, float], options: dict[str, Any]
) -> None:
    """The product of p(id | cells before, levels before of this cell), for each of 16 pictures."""
    prior = built(AutoregressiveConfig(**TINY))
    exact: Distribution = {}
    for picture in itertools.product(range(2), repeat=4):
        ids = torch.tensor(picture).view(1, 2, 1, 2)
        p = 1.0
        for cell, level in itertools.product(range(2), range(2)):
            scale = guidance[0] + (guidance[1] - guidance[0]) * cell
            logits = guided(
                lambda c: prior.logits(ids, c)[0, level, cell],  # noqa: B023
                labels(label, 1),
                scale,
            )
            p *= float(truncated(logits, **options)[ids[0, level, 0, cell]])
        exact[picture] = p
    assert_follows(draw(prior, label, guidance=guidance, **options), exact)


def test_a_level_depends_on_those_before_it_only() -> None:
    prior = built(AutoregressiveConfig(**TINY | {"levels": 3}))
    ids = torch.tensor([0, 1, 0, 1, 1, 0]).view(1, 3, 1, 2)
    before = prior.logits(ids)
    for cell, level in itertools.product(range(2), range(3)):
        changed = ids.clone()
        changed[0, level, 0, cell] = 1 - changed[0, level, 0, cell]
        moved = (prior.logits(changed) - before).abs().amax((0, 3)) > 1e-5
        expected = [[(c, n) > (cell, level) for c in range(2)] for n in range(3)]
        assert moved.tolist() == expected


@pytest.mark.parametrize("known", [((0, -1), (-1, -1)), ((-1, 1), (1, -1)), ((-1, -1), (1, -1))])
def test_known_ids_of_some_levels_are_kept(known: tuple[tuple[int, int], ...]) -> None:
    """Known ids count as those before; what comes after them is not looked at."""
    prior = built(AutoregressiveConfig(**TINY))
    places = torch.tensor(known).view(2, 1, 2)
    free = [(n, c) for n in range(2) for c in range(2) if known[n][c] < 0]
    exact: Distribution = {}
    for codes in itertools.product(range(2), repeat=len(free)):
        ids = places.clone()[None]
        for (n, c), code in zip(free, codes, strict=True):
            ids[0, n, 0, c] = code
        p = torch.softmax(prior.logits(ids)[0].double(), -1)
        chance = math.prod(float(p[n, c, ids[0, n, 0, c]]) for n, c in free)
        exact[tuple(ids.flatten().tolist())] = chance
    assert_follows(draw(prior, None, known=places), exact)


def test_autoregressive_bits_are_those_of_the_enumerated_probabilities() -> None:
    prior = built(AutoregressiveConfig(**TINY))
    pictures = torch.tensor(list(itertools.product(range(2), repeat=4))).view(16, 2, 1, 2)
    logs = torch.log_softmax(prior.logits(pictures).double(), -1)
    each = logs.gather(3, pictures.flatten(2)[..., None]).sum((1, 2, 3))
    assert float(each.exp().sum()) == pytest.approx(1, abs=1e-5)
    found = prior.loss(pictures)
    assert float(found["nll"]) == pytest.approx(-float(each.mean()) / 4, rel=1e-5)
    assert float(found["bits"]) == pytest.approx(float(found["nll"]) / math.log(2), rel=1e-6)


@pytest.mark.parametrize("static", [False, True])
def test_features_of_the_decoder_are_those_of_one_pass(static: bool) -> None:
    prior = built(AutoregressiveConfig(**TINY | {"grid": (2, 3), "levels": 3}))
    network = prior.network
    ids = torch.randint(0, 2, (4, 3, 6), generator=seeded())
    before = torch.nn.functional.pad(ids[..., :-1], (1, 0), value=2)
    context = network.context(None, 4)
    whole = network(before, context)
    step = network.decoder(context, 4, 6, static=static)
    for cell in range(6):
        found = step(before[..., cell : cell + 1])
        torch.testing.assert_close(found, whole[:, cell], atol=1e-5, rtol=1e-4)


def test_initial_weights_of_levels() -> None:
    torch.manual_seed(0)
    embed, heads = LevelEmbedding(900, 64, 3), LevelHeads(900, 64, 3, in_turn=True)
    assert [len(part) for part in (embed.tables, heads.heads, heads.drawn)] == [3, 3, 2]
    for layer in (*embed.tables, *heads.heads, *heads.drawn):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.06)
        assert abs(float(layer.weight.detach().mean())) < 0.002
    assert not any(head.bias.any() for head in heads.heads)


def test_an_embedding_is_the_sum_of_those_of_all_levels() -> None:
    embed, ids = LevelEmbedding(4, 8, 3), torch.tensor([[[0, 4], [3, 1], [4, 4]]])
    first, second, third = (table.weight for table in embed.tables)
    wanted = torch.stack([first[0] + second[3] + third[4], first[4] + second[1] + third[4]])
    torch.testing.assert_close(embed(ids)[0], wanted)
    with pytest.raises(ValueError, match="zip"):
        embed(ids[:, :2])


def test_each_level_has_its_own_mixer_and_head() -> None:
    heads, features = LevelHeads(4, 8, 3, in_turn=True), torch.randn(2, 8, generator=seeded())
    before = torch.tensor([[3, 1], [0, 2]])
    with torch.no_grad():
        for level in range(3):
            x = features
            for n in range(level):
                x = x + heads.drawn[n].weight[before[:, n]]
            wanted = heads.heads[level](x + heads.mixers[level - 1](x) if level else x)
            torch.testing.assert_close(heads(features, level, before[:, :level]), wanted)


def level_exactly(
    prior: Prior, label: int | None, drawn: list[tuple[int, int]], takes: int, choice: float
) -> Distribution:
    """Return the distribution of two cells of the next level, given those of the levels before.

    Of two steps, the first keeps the more confident token (MaskGIT); the rest is hidden.
    """
    network, unknown, level = prior.network, prior.codebook_size, len(drawn)
    later = [(unknown, unknown)] * (prior.config.levels - level - 1)

    def logits(state: tuple[int, ...]) -> Tensor:
        ids = torch.tensor([[*drawn, state, *later]])
        context = network.context(labels(label, 1), 1, grid=(1, 2))
        return network.head.heads[level](network(ids, context))[0].double()

    first = logits((unknown, unknown))
    p, log_p = first.softmax(-1), first.log_softmax(-1)
    exact: Distribution = {}
    for pair in itertools.product(range(unknown), repeat=2):
        chance = float(p[0, pair[0]] * p[1, pair[1]])
        if takes == 1:
            exact[pair] = chance
            continue
        lead = float(log_p[0, pair[0]] - log_p[1, pair[1]])
        keep_0 = 1 / (1 + math.exp(-2 * lead / choice))
        for kept, share in ((0, keep_0), (1, 1 - keep_0)):
            state = tuple(pair[i] if i == kept else unknown for i in (0, 1))
            second = logits(state)[1 - kept].softmax(-1)
            for code in range(unknown):
                whole = tuple(pair[i] if i == kept else code for i in (0, 1))
                exact[whole] = exact.get(whole, 0) + chance * share * float(second[code])
    return exact


@pytest.mark.parametrize(("label", "steps"), [(None, 2), (1, 4), (0, 3)])
def test_masked_draws_levels_in_turn(label: int | None, steps: int) -> None:
    """Of three steps, two are those of the first level."""
    prior = built(MaskedConfig(**TINY, choice_temperature=1.5))
    takes = (steps + 1) // 2, steps // 2
    exact: Distribution = {}
    for pair, chance in level_exactly(prior, label, [], takes[0], 1.5).items():
        for other, then in level_exactly(prior, label, [pair], takes[1], 1.5).items():
            exact[(*pair, *other)] = chance * then
    assert_follows(draw(prior, label, steps=steps), exact)


def test_masked_steps_show_each_level_after_those_before() -> None:
    prior = built(MaskedConfig(**TINY | {"grid": (2, 3), "levels": 3}))
    steps = list(prior.sample(n=2, steps=6, generator=seeded()))
    assert [(step.done, step.total) for step in steps] == [(n, 6) for n in range(1, 7)]
    left = [(step.ids < 0).sum((0, 2, 3)).tolist() for step in steps]
    assert left[1][0] == left[3][1] == left[5][2] == 0
    assert left[0][0] > 0 and left[1][1:] == [12, 12] and left[3][2] == 12
    assert steps[-1].ids.shape == (2, 3, 2, 3)
    assert prior.default_steps == 36


def test_masked_keeps_known_ids_and_hides_those_of_later_levels() -> None:
    """Known ids of a later level do not change the draws of a level, as in training."""
    prior = built(MaskedConfig(**TINY | {"grid": (2, 3)}))
    known = torch.full((2, 2, 3), -1)
    known[0, 0, 0] = known[1, 1, 2] = 1
    drawn = prior.generate(n=4, known=known, generator=seeded())
    assert (drawn[:, 0, 0, 0] == 1).all() and (drawn[:, 1, 1, 2] == 1).all()
    known[1, 1, 2] = 0
    other = prior.generate(n=4, known=known, generator=seeded())
    assert torch.equal(drawn[:, 0], other[:, 0])
    assert (other[:, 1, 1, 2] == 0).all()


def test_masked_training_hides_a_part_of_one_level_and_all_later_ones() -> None:
    prior = built(MaskedConfig(**TINY | {"grid": (3, 4), "levels": 3})).train()
    seen: list[Tensor] = []
    forward = prior.network.forward

    def watched(ids: Tensor, *others: Any, **how: Any) -> Tensor:
        seen.append(ids)
        return forward(ids, *others, **how)

    prior.network.forward = watched
    ids = torch.randint(0, 2, (64, 3, 3, 4), generator=seeded())
    prior.loss(ids, None, seeded())
    hidden = (seen[0] == 2).sum(2)  # (64, 3)
    shown = torch.where(seen[0] == 2, ids.flatten(2), seen[0])
    assert torch.equal(shown, ids.flatten(2))
    kinds = set()
    for row in hidden.tolist():
        level = next(n for n, count in enumerate(row) if count)
        assert row[level + 1 :] == [12] * (2 - level)
        kinds.add(level)
    assert kinds == {0, 1, 2}


def test_masked_bits_are_the_mean_over_levels() -> None:
    """With heads that ignore the picture, each level's bits are those of its constant id."""
    prior = built(MaskedConfig(**TINY))
    with torch.no_grad():
        for head, chance in zip(prior.network.head.heads, (0.9, 0.3), strict=True):
            head.weight.zero_()
            head.bias.copy_(torch.tensor([1 - chance, chance]).log())
    ids = torch.ones(4000, 2, 1, 2, dtype=torch.int64)
    ids[:, 1] = 0
    expected = -(math.log2(0.9) + math.log2(0.7)) / 2
    assert float(prior.loss(ids, None, seeded())["bits"]) == pytest.approx(expected, rel=0.03)


def test_every_head_has_a_gradient_whatever_level_is_drawn() -> None:
    """Several processes wait for the gradient of each parameter."""
    prior = MaskedConfig(**TINY | {"levels": 4}).build().train()
    sum(prior.loss(torch.zeros(1, 4, 1, 2, dtype=torch.int64), None, seeded()).values()).backward()
    assert all(p.grad is not None for p in prior.network.head.parameters())


def test_embeddings_start_from_the_codebook_of_each_level() -> None:
    prior = built(AutoregressiveConfig(**TINY | {"codebook_size": 8}))
    codebooks = [torch.randn(8, dim, generator=seeded(dim)) for dim in (6, 3)]
    prior.network.init_from_codebook(codebooks)
    for table, head, codes in zip(
        prior.network.embed.tables, prior.network.head.heads, codebooks, strict=True
    ):
        for weight in (table.weight[:8], head.weight):
            rank = torch.linalg.matrix_rank(weight - weight.mean(0))
            assert rank == min(codes.shape[1], 7)
    with pytest.raises(ValueError, match="zip"):
        prior.network.init_from_codebook(codebooks[0])


def test_a_map_is_drawn_first_for_all_levels() -> None:
    config = AutoregressiveConfig(
        **TINY | {"conditions": (SemanticConfig(classes=3, width=8),), "grid": (2, 3)},
        layout=LayoutConfig(8, 1, 2),
    )
    prior = built(config)
    steps = list(prior.sample(n=2, generator=seeded()))
    assert steps[0].ids.shape == (2, 2, 2, 3) and steps[0].sketching
    assert (steps[-1].ids >= 0).all()
    maps = torch.zeros(2, 4, 6, dtype=torch.int64)
    losses = prior.loss(steps[-1].ids, Condition(segmentation=maps), seeded())
    assert {"nll", "layout"} <= losses.keys()
    own = prior.layout.loss(maps, Condition(segmentation=maps), (2, 3), seeded())
    assert torch.equal(losses["layout"], own["layout"])


def test_configs_name_levels_only_where_there_are_several() -> None:
    one = MaskedConfig(**SMALL)
    assert "levels" not in describe_prior(one)
    several = MaskedConfig(**TINY)
    assert describe_prior(several)["levels"] == 2
    for config in (one, several):
        assert prior_config(describe_prior(config)) == config


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (
            lambda p: p.loss(torch.zeros(2, 1, 2).long()),
            r"integers \(B, 2, h, w\), got \(2, 1, 2\)",
        ),
        (lambda p: p.loss(torch.zeros(2, 3, 1, 2).long()), r"got \(2, 3, 1, 2\)"),
        (lambda p: p.loss(torch.full((1, 2, 1, 2), 2)), "from 0 to 1, got 2 to 2"),
        (
            lambda p: p.generate(n=3, known=torch.zeros(1, 2).long()),
            r"known must be integers \(2, h, w\) or \(3, 2, h, w\), got \(1, 2\)",
        ),
        (lambda p: p.generate(n=3, known=torch.zeros(3, 1, 2).long()), r"got \(3, 1, 2\)"),
    ],
)
@pytest.mark.parametrize("config", [AutoregressiveConfig, MaskedConfig])
def test_wrong_shapes_get_a_sentence(config: Any, work: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        work(built(config(**TINY)))


def test_wrong_steps_and_kinds_get_a_sentence() -> None:
    prior = built(MaskedConfig(**TINY))
    with pytest.raises(ValueError, match="steps must be 2 or more, one for each level, got 1"):
        prior.generate(steps=1)
    with pytest.raises(ValueError, match="from 1 to 4, got 5"):
        prior.generate(steps=5)
    with pytest.raises(ValueError, match="one id per position, but the tokenizer has 2 levels"):
        DiffusionConfig(**TINY)
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        MaskedConfig(**TINY | {"levels": 0})

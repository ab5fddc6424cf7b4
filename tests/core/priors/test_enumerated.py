"""Samplers against distributions that are enumerated: tiny vocabularies, every path of draws.

A prior with random weights is sampled for thousands of pictures at once, and the counts of whole
pictures are compared with exact probabilities by a chi-square test. The exact ones follow from the
network's logits and from the method's rules, which are written out here: which tokens are kept, in
which order, at which temperature, with which guidance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from core.conditions import Condition, LabelConfig
from core.priors import AutoregressiveConfig, DiffusionConfig, MaskedConfig, Prior

PICTURES = 6000
LABELS = (LabelConfig(classes=2),)
Distribution = dict[tuple[int, ...], float]


def built(config: Any) -> Prior:
    """Return a prior whose tokens depend strongly on each other and on the condition."""
    torch.manual_seed(3)
    prior = config.build().eval().requires_grad_(False)
    for name, parameter in prior.named_parameters():
        if parameter.ndim > 1 or "bias" in name:
            parameter.normal_(std=0.5)
    return prior


def truncated(
    logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Tensor:
    """Return the probabilities (..., K) of draws: temperature, then top-k, then top-p."""
    p = torch.softmax(logits.double() / temperature, -1)
    order = p.argsort(-1, descending=True)
    ranked = p.gather(-1, order)
    if top_k:
        ranked = ranked * (torch.arange(p.shape[-1]) < top_k)
        ranked = ranked / ranked.sum(-1, keepdim=True)
    ranked = ranked * (ranked.cumsum(-1) - ranked < top_p)
    kept = torch.zeros_like(p).scatter(-1, order, ranked)
    return kept / kept.sum(-1, keepdim=True)


def guided(logits: Callable[[Condition | None], Tensor], condition: Any, scale: float) -> Tensor:
    """Return null + scale (conditional - null)."""
    if condition is None or scale == 1:
        return logits(condition).double()
    null = logits(None).double()
    return null + scale * (logits(condition).double() - null)


def assert_follows(drawn: Tensor, exact: Distribution) -> None:
    """Check counts of pictures by a chi-square test; rare ones are counted together."""
    assert sum(exact.values()) == pytest.approx(1, abs=1e-6)
    found: dict[tuple[int, ...], int] = {}
    for picture in drawn.flatten(1).tolist():
        found[tuple(picture)] = found.get(tuple(picture), 0) + 1
    assert all(exact.get(picture, 0) > 0 for picture in found), "a picture that is impossible"
    often = [picture for picture, p in exact.items() if p * len(drawn) >= 5]
    groups = [(found.get(picture, 0), exact[picture] * len(drawn)) for picture in often]
    rest = len(drawn) - sum(count for count, _ in groups)
    rest_expected = len(drawn) - sum(expected for _, expected in groups)
    if rest_expected > 1:
        groups.append((rest, rest_expected))
    assert len(groups) > 2
    statistic = sum((count - expected) ** 2 / expected for count, expected in groups)
    assert chi2.sf(statistic, len(groups) - 1) > 1e-3


def labels(label: int | None, rows: int) -> Condition | None:
    return None if label is None else Condition(labels=torch.tensor([label])).repeat(rows)


def draw(prior: Prior, label: int | None, **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return prior.generate(labels(label, PICTURES), PICTURES, generator=generator, **options)


# ------------------------------------------------------------------- autoregressive


@pytest.mark.parametrize(
    ("label", "guidance", "options"),
    [
        (None, (1.0, 1.0), {}),
        (1, (1.0, 1.0), {}),
        (1, (2.0, 2.0), {}),
        (1, (0.0, 0.0), {}),
        (1, (0.0, 3.0), {"temperature": 1.5}),
        (0, (1.0, 1.0), {"temperature": 0.6}),
        (0, (1.0, 1.0), {"top_k": 2}),
        (0, (1.0, 1.0), {"top_p": 0.8}),
        (0, (1.0, 1.0), {"temperature": 2.0, "top_k": 2, "top_p": 0.95}),
    ],
)
def test_autoregressive(
    label: int | None, guidance: tuple[float, float], options: dict[str, Any]
) -> None:
    config = AutoregressiveConfig(
        codebook_size=3, grid=(2, 2), width=16, layers=1, heads=2, conditions=LABELS
    )
    prior = built(config)
    exact: Distribution = {}
    for picture in itertools.product(range(3), repeat=4):
        ids = torch.tensor(picture).view(1, 2, 2)
        p = 1.0
        for cell in range(4):
            scale = guidance[0] + (guidance[1] - guidance[0]) * cell / 3
            logits = guided(lambda c: prior.logits(ids, c)[0, cell], labels(label, 1), scale)  # noqa: B023
            p *= float(truncated(logits, **options)[picture[cell]])
        exact[picture] = p
    assert_follows(draw(prior, label, guidance=guidance, **options), exact)


@pytest.mark.parametrize(
    "known", [(-1, 2, -1, -1), (-1, 0, -1, -1), (0, 2, -1, -1), (1, -1, -1, 0), (0, 0, -1, -1)]
)
def test_autoregressive_with_known_tokens(known: tuple[int, ...]) -> None:
    """A token is drawn given those before it; known tokens are kept and count as those."""
    config = AutoregressiveConfig(codebook_size=3, grid=(2, 2), width=16, layers=1, heads=2)
    prior = built(config)
    drawn = [i for i in range(4) if known[i] < 0]
    exact: Distribution = {}
    for codes in itertools.product(range(3), repeat=len(drawn)):
        picture = list(known)
        for i, code in zip(drawn, codes, strict=True):
            picture[i] = code
        p = torch.softmax(prior.logits(torch.tensor(picture).view(1, 2, 2))[0].double(), -1)
        exact[tuple(picture)] = math.prod(float(p[i, picture[i]]) for i in drawn)
    assert_follows(draw(prior, None, known=torch.tensor(known).view(2, 2)), exact)


def test_autoregressive_steps_begin_after_the_tokens_that_all_pictures_know() -> None:
    config = AutoregressiveConfig(codebook_size=3, grid=(2, 2), width=16, layers=1, heads=2)
    prior = built(config)
    known = torch.tensor([[[0, 1], [-1, -1]], [[2, 0], [0, -1]]])
    steps = list(prior.sample(n=2, known=known, generator=torch.Generator().manual_seed(0)))
    assert [(step.done, step.total) for step in steps] == [(3, 4), (4, 4)]
    assert [(step.ids < 0).sum((1, 2)).tolist() for step in steps] == [[1, 1], [0, 0]]
    whole = torch.tensor([[0, 1], [2, 0]])
    (only,) = prior.sample(n=2, known=whole)
    assert (only.done, only.total) == (4, 4) and torch.equal(only.ids, whole.expand(2, 2, 2))


# ------------------------------------------------------------------- masked (MaskGIT)


def masked_exactly(
    prior: Prior,
    label: int | None,
    *,
    steps: int,
    choice: float,
    guidance: tuple[float, float] = (1.0, 1.0),
    known: tuple[int, ...] = (-1, -1),
    **options: Any,
) -> Distribution:
    """Return MaskGIT's distribution for two cells of K codes in at most two steps.

    All masked tokens are drawn; of two, the more confident one is kept at the first of two steps.
    The confidence is log p plus Gumbel noise times ``choice`` (1 - 1/2). The difference of two
    Gumbel numbers is logistic.
    """
    network, unknown = prior.network, prior.codebook_size

    def logits(state: tuple[int, ...], progress: float) -> Tensor:
        ids = torch.tensor([state])

        def given(condition: Condition | None) -> Tensor:
            return network(ids, network.context(condition, 1, grid=(1, 2)))[0]

        scale = guidance[0] + (guidance[1] - guidance[0]) * progress
        return guided(given, labels(label, 1), scale)

    start = tuple(unknown if k < 0 else k for k in known)
    todo = [i for i in (0, 1) if start[i] == unknown]
    takes = min(steps, len(todo))
    first = logits(start, 0.0)
    p, log_p = truncated(first, **options), torch.log_softmax(first, -1)
    exact: Distribution = {}
    for pair in itertools.product(range(unknown), repeat=2):
        if any(pair[i] != start[i] for i in (0, 1) if i not in todo):
            continue
        chance = math.prod(float(p[i, pair[i]]) for i in todo)
        if takes == 1:
            exact[pair] = exact.get(pair, 0) + chance
            continue
        lead = float(log_p[0, pair[0]] - log_p[1, pair[1]])
        scale = choice * 0.5
        keep_0 = 1 / (1 + math.exp(-lead / scale)) if scale else float(lead > 0)
        for kept, share in ((0, keep_0), (1, 1 - keep_0)):
            state = tuple(pair[i] if i == kept else unknown for i in (0, 1))
            second = truncated(logits(state, 1.0), **options)[1 - kept]
            for code in range(unknown):
                whole = tuple(pair[i] if i == kept else code for i in (0, 1))
                exact[whole] = exact.get(whole, 0) + chance * share * float(second[code])
    return exact


@pytest.mark.parametrize(
    ("label", "how"),
    [
        (None, {"steps": 1, "choice": 4.5}),
        (None, {"steps": 2, "choice": 0.0}),
        (None, {"steps": 2, "choice": 4.5}),
        (1, {"steps": 2, "choice": 1.0, "guidance": (2.0, 2.0)}),
        (1, {"steps": 2, "choice": 1.0, "guidance": (0.0, 3.0)}),
        (0, {"steps": 2, "choice": 0.5, "temperature": 0.6}),
        (0, {"steps": 2, "choice": 0.5, "temperature": 1.5, "top_k": 2}),
        (0, {"steps": 2, "choice": 0.5, "top_p": 0.7}),
        (None, {"steps": 2, "choice": 0.5, "known": (-1, 2)}),
    ],
)
def test_masked(label: int | None, how: dict[str, Any]) -> None:
    config = MaskedConfig(
        codebook_size=4,
        grid=(1, 2),
        width=16,
        layers=1,
        heads=2,
        conditions=LABELS,
        choice_temperature=how["choice"],
    )
    prior = built(config)
    exact = masked_exactly(prior, label, **how)
    options = {name: value for name, value in how.items() if name not in ("choice", "known")}
    if "known" in how:
        options["known"] = torch.tensor([how["known"]])
    assert_follows(draw(prior, label, **options), exact)


def test_masked_keeps_the_surest_tokens_in_order() -> None:
    """Without noise, the tokens are kept by falling confidence, as many as the cosine says."""
    config = MaskedConfig(
        codebook_size=6, grid=(3, 4), width=16, layers=1, heads=2, choice_temperature=0.0
    )
    prior = built(config)
    state = torch.full((1, 12), 6)
    context = prior.network.context(None, 1, grid=(3, 4))
    steps = prior.sample(n=1, steps=4, temperature=0.0, generator=torch.Generator().manual_seed(0))
    for number, step in enumerate(steps, 1):
        log_p = torch.log_softmax(prior.network(state, context)[0].double(), -1)
        confidence, codes = log_p.max(-1)
        masked = (state[0] == 6).nonzero().flatten().tolist()
        left = 0 if number == 4 else math.floor(12 * math.cos(math.pi / 2 * number / 4))
        surest = sorted(masked, key=lambda i: -float(confidence[i]))[: len(masked) - left]
        for cell in surest:
            state[0, cell] = codes[cell]
        shown = state.masked_fill(state == 6, -1)
        assert step.ids.flatten().tolist() == shown.flatten().tolist(), number


# ------------------------------------------------------------------- diffusion


def transition(keep: float, mask: float, codes: int) -> Tensor:
    """Return a matrix (K + 1, K + 1) of probabilities from a code or the mask (K) to each."""
    matrix = torch.zeros(codes + 1, codes + 1, dtype=torch.float64)
    matrix[:codes, :codes] = (1 - keep - mask) / codes
    matrix[range(codes), range(codes)] += keep
    matrix[:codes, codes] = mask
    matrix[codes, codes] = 1
    return matrix


@pytest.mark.parametrize(
    ("label", "guidance", "times", "options"),
    [
        (None, (1.0, 1.0), [4, 3, 2, 1, 0], {}),
        (None, (1.0, 1.0), [4, 2, 0], {}),
        (1, (2.0, 2.0), [4, 2, 0], {}),
        (1, (0.0, 3.0), [4, 2, 0], {}),
        (0, (1.0, 1.0), [4, 2, 0], {"temperature": 0.7}),
        (0, (1.0, 1.0), [4, 2, 0], {"top_p": 0.7}),
        (0, (1.0, 1.0), [4, 2, 0], {"top_k": 2, "temperature": 1.3}),
    ],
)
def test_diffusion(
    label: int | None,
    guidance: tuple[float, float],
    times: list[int],
    options: dict[str, Any],
) -> None:
    """p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t), with matrices (VQ-Diffusion).

    The cumulative probabilities to keep a code and to be masked are linear over the times.
    """
    codes, last = 3, 4
    config = DiffusionConfig(
        codebook_size=codes,
        grid=(1, 2),
        width=16,
        layers=1,
        heads=2,
        conditions=LABELS,
        timesteps=last,
        alpha=(0.8, 0.05),
        gamma=(0.1, 0.75),
    )
    prior = built(config)
    kept = [1.0, *torch.linspace(0.8, 0.05, last, dtype=torch.float64).tolist()]
    hidden = [0.0, *torch.linspace(0.1, 0.75, last, dtype=torch.float64).tolist()]

    def between(s: int, t: int) -> Tensor:
        mask = 1 - (1 - hidden[t]) / (1 - hidden[s])
        return transition(kept[t] / kept[s], mask, codes)

    begin = torch.full((codes + 1,), (1 - hidden[last]) / codes, dtype=torch.float64)
    begin[codes] = hidden[last]
    states = list(itertools.product(range(codes + 1), repeat=2))
    now = {state: float(begin[state[0]] * begin[state[1]]) for state in states}
    count = len(times) - 1
    for number, (t, s) in enumerate(itertools.pairwise(times)):
        scale = guidance[0] + (guidance[1] - guidance[0]) * number / max(1, count - 1)
        then: Distribution = dict.fromkeys(states, 0.0)
        to_s, step, whole = between(0, s), between(s, t), between(0, t)
        for state, chance in now.items():
            ids, time = torch.tensor([state]), torch.tensor([t])

            def logits(condition: Condition | None) -> Tensor:
                context = prior.network.context(condition, 1, grid=(1, 2))
                return prior.network(ids, context, time=time / last)[0]  # noqa: B023

            p = truncated(guided(logits, labels(label, 1), scale), **options)
            each = []
            for cell, code in enumerate(state):
                posterior = to_s[:codes] * step[:, code] / whole[:codes, code, None]
                each.append(p[cell] @ posterior)
            for other in states:
                then[other] += chance * float(each[0][other[0]] * each[1][other[1]])
        now = then
    exact = {state: chance for state, chance in now.items() if codes not in state}
    drawn = draw(prior, label, guidance=guidance, steps=count, **options)
    assert_follows(drawn, exact)

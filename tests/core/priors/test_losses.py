"""The losses of the priors, written out a second time in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from core.conditions import Condition
from core.priors.categorical import spread_uniform
from tests.core.priors.small_priors import BOTH, built, seeded
from tests.core.priors.test_enumerated import transition
from tests.core.priors.test_latent import latent_prior

CPU = torch.device("cpu")


def log_p_of(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.double(), -1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_masked(training: bool, smoothing: float) -> None:
    """MaskGIT: a share cos(pi r / 2) of the tokens is masked; cross-entropy with smoothing."""
    prior = built("masked", label_smoothing=smoothing).train(training)
    ids = torch.randint(6, (5, 3, 4), generator=seeded(1))
    found = prior.loss(ids, None, seeded(2))
    draw = seeded(2)
    at = (torch.arange(5) + torch.rand(5, generator=draw)) / 5
    order = torch.rand(5, 12, generator=draw)
    share = torch.cos(at * math.pi / 2) if training else at
    terms, bits = [], []
    state, flat = ids.flatten(1).clone(), ids.flatten(1)
    hidden = []
    for row in range(5):
        count = min(max(math.floor(float(share[row]) * 12), 0), 11) + 1
        hidden.append(order[row].argsort()[:count])
        state[row, hidden[row]] = 6
    log_p = log_p_of(prior.network(state, prior.network.context(None, 5, grid=(3, 4))))
    for row in range(5):
        nll = -log_p[row, hidden[row], flat[row, hidden[row]]]
        even = -log_p[row, hidden[row]].mean(-1)
        terms += ((1 - smoothing) * nll + smoothing * even).tolist()
        density = math.sqrt(1 - float(share[row]) ** 2) * math.pi / 2 if training else 1.0
        bits.append(float(nll.mean()) * density / math.log(2))
    assert found.keys() == {"masked", "bits"}
    assert float(found["masked"]) == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    assert float(found["bits"]) == pytest.approx(sum(bits) / 5, rel=1e-4)
    assert found["masked"].requires_grad and not found["bits"].requires_grad


@pytest.mark.parametrize("focus", [0.0, 4.0])
@pytest.mark.parametrize("auxiliary", [5e-4, 0.3])
@pytest.mark.parametrize("warm", [False, True])
def test_diffusion(focus: float, auxiliary: float, warm: bool) -> None:
    """VQ-Diffusion's bound by matrices, its auxiliary loss, and its importance sampling."""
    last, codes, rows = 4, 6, 8
    prior = built(
        "diffusion", timesteps=last, alpha=(0.8, 0.05), gamma=(0.1, 0.75), focus=focus,
        auxiliary=auxiliary,
    ).train(warm)  # fmt: skip
    share = torch.full((last,), 1 / last, dtype=torch.float64)
    if warm:  # each timestep was drawn more than ten times
        prior.draws.fill_(11)
        prior.squares.copy_(torch.tensor([9.0, 1.0, 4.0, 9.0]))
        share = torch.tensor([1.0, 1.0, 2.0, 3.0], dtype=torch.float64) / 7
    ids = torch.randint(codes, (rows, 3, 4), generator=seeded(1))
    found = prior.loss(ids, None, seeded(2))
    draw = seeded(2)
    at = spread_uniform(rows, draw, CPU).double()
    time = torch.tensor([int((share.cumsum(0) <= x).sum()) + 1 for x in at])
    now = prior.process.corrupt(ids.flatten(1), time, draw)
    context = prior.network.context(None, rows, grid=(3, 4))
    log_p = log_p_of(prior.network(now, context, time=time / last))
    kept = [1.0, *torch.linspace(0.8, 0.05, last, dtype=torch.float64).tolist()]
    hidden = [0.0, *torch.linspace(0.1, 0.75, last, dtype=torch.float64).tolist()]

    def between(s: int, t: int) -> Tensor:
        mask = 1 - (1 - hidden[t]) / (1 - hidden[s])
        return transition(kept[t] / kept[s], mask, codes)

    bounds, auxiliaries, plain = [], [], []
    for row in range(rows):
        t = int(time[row])
        to_s, step, whole = between(0, t - 1), between(t - 1, t), between(0, t)
        kls, nlls = [], []
        for cell in range(12):
            x_t, x_0 = int(now[row, cell]), int(ids.flatten(1)[row, cell])
            posterior = to_s[:codes] * step[:, x_t] / whole[:codes, x_t, None]
            q, p = posterior[x_0], log_p[row, cell].exp() @ posterior
            kls.append(float(torch.special.xlogy(q, q / p)[q > 0].sum()))
            nlls.append(-float(log_p[row, cell, x_0]))
        scale = (1 + focus * (t / last) ** 3) / (1 + focus / 4) / float(share[t - 1])
        bounds.append(scale * sum(kls) / 12)
        plain.append(sum(kls) / 12 / float(share[t - 1]))
        auxiliaries.append((2 - (t - 1) / last) * scale * sum(nlls) / 12)
    assert float(found["variational"]) == pytest.approx(sum(bounds) / rows, rel=1e-3)
    assert float(found["auxiliary"]) == pytest.approx(auxiliary * sum(auxiliaries) / rows, rel=1e-3)
    end = whole_noise = between(0, last)[0]
    noise = torch.full((codes + 1,), (1 - hidden[last]) / codes, dtype=torch.float64)
    noise[codes] = hidden[last]
    constant = float((whole_noise * torch.log(end / noise)).sum())
    bits = (sum(plain) / rows + constant) / math.log(2)
    assert float(found["bits"]) == pytest.approx(bits, rel=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_latent(prediction: str) -> None:
    """DDPM on latents of mean 0 and deviation 1: the error of the noise or of the velocity."""
    prior = latent_prior(prediction).train()
    latents = (
        3 * torch.randn(4, 2, 4, 4, generator=seeded(1)) + torch.tensor([5.0, -1.0])[:, None, None]
    )
    condition = None
    found = prior.loss(latents, condition, seeded(2))
    mean = latents.double().mean((0, 2, 3))
    centered = latents.double() - mean[:, None, None]
    deviation = float(centered.pow(2).mean().sqrt())
    torch.testing.assert_close(prior.mean.double(), mean)
    assert float(prior.std) == pytest.approx(deviation)
    clean = (centered / deviation).float()
    draw = seeded(2)
    at = (torch.arange(4) + torch.rand(4, generator=draw)) / 4
    time = (at * 50).long()
    noise = torch.randn(clean.shape, generator=draw)
    left = torch.cumprod(1 - torch.linspace(2e-3, 0.3, 50, dtype=torch.float64), 0)
    a = left[time].sqrt()[:, None, None, None].float()
    b = (1 - left[time]).sqrt()[:, None, None, None].float()
    vector, cells = prior._encode(condition, 4, (4, 4), draw)
    predicted = prior._network(a * clean + b * noise, time, vector, cells)
    target = noise if prediction == "epsilon" else a * noise - b * clean
    assert found.keys() == {"denoising"}
    wanted = float((predicted - target).double().pow(2).mean())
    assert float(found["denoising"]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_a_share_of_the_pictures_loses_its_conditions(drop: float) -> None:
    """All conditions of a picture are dropped with ``drop``, and each alone with the same."""
    maps = torch.zeros(1, 3, 4, dtype=torch.int64)
    condition = Condition(segmentation=maps, labels=torch.tensor([1])).repeat(4000)
    lost = {}
    for conditions in (BOTH, BOTH[1:]):
        prior = built("masked", conditions, drop=drop).train()
        null = prior.network.context(None, 1, grid=(3, 4))
        some = prior.network.context(condition, 4000, seeded(), grid=(3, 4))
        for name in ("vector", "cell_embedding")[: len(conditions)]:
            found, empty = getattr(some, name).flatten(1), getattr(null, name).flatten(1)
            lost[name, len(conditions)] = torch.isclose(found, empty, atol=1e-6).all(1)
    either = 1 - (1 - drop) ** 2
    label, cells = lost["vector", 2], lost["cell_embedding", 2]
    assert float(lost["vector", 1].float().mean()) == pytest.approx(drop, abs=0.03)
    assert float(label.float().mean()) == pytest.approx(either, abs=0.03)
    assert float(cells.float().mean()) == pytest.approx(either, abs=0.03)
    both = drop + (1 - drop) * drop**2
    assert float((label & cells).float().mean()) == pytest.approx(both, abs=0.03)

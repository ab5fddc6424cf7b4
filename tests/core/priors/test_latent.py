"""Latent diffusion against networks whose answer is known."""

from __future__ import annotations

import pytest
import torch

from core.conditions import Condition, TextConfig
from core.priors import (
    LatentConfig,
    Prior,
)
from core.priors.latent import sample_ddim
from core.priors.options import ResolvedOptions
from tests.core.priors.small_priors import BOTH, conditions_of, same_alone_as_among_others, seeded


def latent_prior(prediction: str = "epsilon") -> Prior:
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return LatentConfig(
        latent_dim=2,
        grid=(4, 4),
        width=32,
        factors=(1, 2),
        blocks=1,
        conditions=BOTH,
        timesteps=50,
        betas=(2e-3, 0.3),
        prediction=prediction,
    ).build()


@pytest.fixture
def latent() -> Prior:
    return latent_prior()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_latent_diffusion_with_a_perfect_network(prediction, monkeypatch):
    prior = latent_prior(prediction).eval()
    with pytest.raises(ValueError, match="is not trained"):
        prior.sample()
    prior.mean.copy_(torch.tensor([5.0, -1.0]))
    prior.std.fill_(2.0)
    left = torch.cumprod(1 - torch.linspace(2e-3, 0.3, 50), 0)

    def knowing(noisy, time, vector, cells):
        signal = left[time][:, None, None, None].sqrt()
        size = (1 - left[time])[:, None, None, None].sqrt()
        noise = (noisy - signal * 0.3) / size  # every latent is 0.3, once scaled
        return noise if prediction == "epsilon" else signal * noise - size * 0.3

    monkeypatch.setattr(prior, "_network", knowing)
    truth = torch.tensor([5.6, -0.4])[:, None, None].expand(3, 2, 4, 4)
    assert prior.loss(truth)["denoising"].item() < 1e-8
    assert prior.loss(truth + 1)["denoising"].item() > 1e-3
    for steps in (1, 7, 50):
        seen = list(prior.sample(n=3, steps=steps, generator=seeded()))
        assert len(seen) == steps
        torch.testing.assert_close(seen[-1].ids, truth, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 3, 29, 31, 37, 50])
def test_latent_diffusion_steps_lead_to_the_next_time(prediction, steps, monkeypatch):
    """The best network for Gaussian latents is known, and each step multiplies by a number.

    A network that predicts the true latents would hide the error of an earlier step.
    """
    prior, size = latent_prior(prediction).eval(), 0.3
    prior.std.fill_(1.0)
    left = torch.cumprod(1 - torch.linspace(2e-3, 0.3, 50, dtype=torch.float64), 0)

    def best(noisy, time, vector, cells):
        a = left[time][:, None, None, None].float()
        whole = a * size**2 + 1 - a
        noise, clean = (1 - a).sqrt() / whole * noisy, a.sqrt() * size**2 / whole * noisy
        return noise if prediction == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * clean

    monkeypatch.setattr(prior, "_network", best)
    seen = list(prior.sample(n=2, steps=steps, generator=seeded()))
    assert [(step.done, step.total) for step in seen] == [(i + 1, steps) for i in range(steps)]
    times = [50 * (steps - i) // steps - 1 for i in range(steps)]
    gain = 1.0
    for now, then in zip(times, [*times[1:], None], strict=True):
        a, b = float(left[now]), 1.0 if then is None else float(left[then])
        whole = a * size**2 + 1 - a
        gain *= (b**0.5 * a**0.5 * size**2 + (1 - b) ** 0.5 * (1 - a) ** 0.5) / whole
    start = torch.randn(2, 2, 4, 4, generator=seeded())
    torch.testing.assert_close(seen[-1].ids, gain * start, atol=1e-4, rtol=1e-3)


def test_latent_diffusion_depends_on_each_condition(latent):
    latent.eval().measure(torch.randn(8, 2, 4, 4))

    def run(condition, guidance=1.0):
        return latent.generate(condition, 2, steps=2, guidance=guidance, generator=seeded())

    plain = run(conditions_of(2))
    assert torch.equal(run(conditions_of(2)), plain)
    torch.testing.assert_close(run(conditions_of(2), 0.0), run(None), atol=1e-3, rtol=1e-2)
    label, segmentation = Condition(labels=conditions_of(2).labels), conditions_of(2).segmentation
    answers = [
        plain,
        run(conditions_of(2), 3.0),
        run(None),
        run(label),
        run(Condition(segmentation=segmentation)),
    ]
    for number, one in enumerate(answers):
        assert not any(torch.allclose(one, other) for other in answers[:number])
    terms = latent.train().loss(torch.randn(4, 2, 4, 4), conditions_of(4), seeded())
    terms["denoising"].backward()
    assert [name for name, p in latent.named_parameters() if p.grad is None] == []


def test_each_latent_has_its_own_seed(latent):
    latent.eval().measure(torch.randn(8, 2, 4, 4))
    same_alone_as_among_others(latent, steps=3, guidance=2.0)


def test_latent_diffusion_is_scaled_by_the_first_batch(latent):
    latents = 7 + 4 * torch.randn(64, 2, 4, 4)
    assert latent.loss(latents)["denoising"].item() < 3
    torch.testing.assert_close(latent.mean, latents.mean((0, 2, 3)))
    assert float(latent.std) == pytest.approx(4, rel=0.05)
    with pytest.raises(ValueError, match="takes no known"):
        latent.sample(known=torch.zeros(4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="multiples of 2"):
        latent.sample(grid=(5, 4))
    with pytest.raises(ValueError, match="latents must be"):
        latent.loss(torch.zeros(1, 3, 4, 4))


def test_conditions_that_a_latent_prior_does_not_take_are_ignored(latent):
    latents, labels = torch.randn(4, 2, 4, 4), torch.tensor([0, 1, 1, -1])
    more = Condition(labels=labels, texts=("a tree",) * 4)
    losses = [latent.eval().loss(latents, c, seeded()) for c in (Condition(labels=labels), more)]
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match="labels must be from 0 to 1"):
        latent.loss(latents, Condition(labels=labels + 1))


def test_heads_of_attention_have_the_width_of_the_config() -> None:
    pytest.importorskip("diffusers")
    settings = {"latent_dim": 2, "grid": (4, 4), "width": 32, "factors": (1, 2), "blocks": 1}
    unet = LatentConfig(**settings, head_width=16).build().unet
    assert [block.attentions[0].heads for block in unet.down_blocks] == [2, 4]
    assert [block.attentions[0].heads for block in unet.up_blocks] == [4, 2]


def test_temperature_scales_the_variance_of_the_start() -> None:
    signal, start = torch.tensor([0.9, 0.25]), torch.randn(3, 2, 4, 4, generator=seeded())
    for temperature, scale in ((1.0, 1.0), (0.25, 0.5), (4.0, 2.0), (0.0, 0.0)):
        options = resolved(temperature=temperature, steps=1)
        (step,) = sample_ddim(
            lambda x, _: torch.zeros_like(x), start, options, signal, guided=False, velocity=False
        )
        torch.testing.assert_close(step.ids, scale * start / 0.25**0.5)


@pytest.mark.parametrize(("steps", "scales"), [(1, [1.0]), (2, [1.0, 3.0]), (3, [1.0, 2.0, 3.0])])
def test_guidance_goes_from_the_first_step_to_the_last(steps: int, scales: list[float]) -> None:
    """The network says 1 with the condition and 0 without, so that the prediction is the scale."""
    signal = torch.linspace(0.95, 0.05, 6)
    x = start = torch.randn(2, 2, 4, 4, generator=seeded())

    def predict(given: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        assert len(given) == 4 and torch.equal(given[:2], given[2:]) and len(time) == 4
        return torch.cat([torch.ones_like(given[:2]), torch.zeros_like(given[:2])])

    options = resolved(guidance=(1.0, 3.0), steps=steps)
    found = list(sample_ddim(predict, start, options, signal, guided=True, velocity=False))
    assert [(step.done, step.total) for step in found] == [(i + 1, steps) for i in range(steps)]
    times = [6 * (steps - step) // steps - 1 for step in range(steps + 1)]
    for number, scale in enumerate(scales):
        share = float(signal[times[number]])
        clean = (x - (1 - share) ** 0.5 * scale) / share**0.5
        torch.testing.assert_close(found[number].ids, clean, rtol=1e-4, atol=1e-4)
        left = float(signal[times[number + 1]]) if times[number + 1] >= 0 else 1.0
        x = left**0.5 * clean + (1 - left) ** 0.5 * scale


def resolved(**options: object) -> ResolvedOptions:
    return ResolvedOptions(**{"n": 2, "grid": (4, 4), "steps": 1, **options})


def test_of_a_text_only_the_vector_is_used() -> None:
    text = TextConfig(width=16, layers=1, heads=2, vocabulary=8)
    prior = LatentConfig(latent_dim=4, grid=(4, 4), width=32, conditions=(text,)).build()
    assert prior.conditioner.has_vector and not prior.conditioner.has_memory

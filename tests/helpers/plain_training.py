"""AdamW, clipping, schedules and averages in float64, for comparisons with a trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def weights_of(module: nn.Module) -> Weights:
    """Return copies of a module's parameters in float64."""
    return {name: p.detach().double().clone() for name, p in module.named_parameters()}


@torch.no_grad()
def put(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set a module's parameters."""
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])


def rate(step: int, steps: int, warmup: float, cosine: bool = True) -> float:
    """Return the share of the learning rate at a step: a linear rise, then a half cosine."""
    rise = round(warmup * steps)
    if step + 1 <= rise:
        return (step + 1) / rise
    rise = max(rise, 1)
    return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2 if cosine and step else 1.0


def clipped(gradients: Mapping[str, Tensor], largest: float) -> tuple[Weights, float]:
    """Return gradients scaled to a norm of at most ``largest`` together, and the norm before."""
    norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))
    factor = min(1.0, largest / norm)
    return {name: g.double() * factor for name, g in gradients.items()}, norm


class PlainAdamW:
    """AdamW (arXiv 1711.05101) for named weights; each keeps its own count of steps.

    ``noise`` collects the entries whose gradient was only rounding at some step: Adam divides by
    the gradient's own size, so that these move by their rounding.
    """

    def __init__(self, betas: tuple[float, float], decay: float, eps: float = 1e-8) -> None:
        self.betas, self.decay, self.eps = betas, decay, eps
        self.m: Weights = {}
        self.v: Weights = {}
        self.count: dict[str, int] = {}
        self.noise: dict[str, Tensor] = {}

    def step(
        self,
        weights: Weights,
        gradients: Mapping[str, Tensor],
        rates: Mapping[str, float],
        decayed: Mapping[str, bool],
    ) -> None:
        """Move ``weights`` by their ``gradients``; those without one stay as they are."""
        largest = max(float(g.abs().max()) for g in gradients.values())
        for name, g in gradients.items():
            w, lr = weights[name], rates[name]
            m = self.m.setdefault(name, torch.zeros_like(w))
            v = self.v.setdefault(name, torch.zeros_like(w))
            noise = self.noise.setdefault(name, torch.zeros_like(w, dtype=torch.bool))
            # A code without a gradient has exactly none; a bias may have one that cancels out.
            noise |= (g.abs() < 2e-5 * largest) & ((g != 0) | (g.ndim < 2))
            t = self.count[name] = self.count.get(name, 0) + 1
            if decayed[name]:
                w -= lr * self.decay * w
            m.mul_(self.betas[0]).add_(g, alpha=1 - self.betas[0])
            v.mul_(self.betas[1]).add_(g**2, alpha=1 - self.betas[1])
            first, second = m / (1 - self.betas[0] ** t), v / (1 - self.betas[1] ** t)
            w -= lr * first / (second.sqrt() + self.eps)


class PlainAverage:
    """The running average of weights: the first is a copy, the n-th moves by at least 1 - decay."""

    def __init__(self, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights: Weights = {}

    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights after a step into the average."""
        n = self.updates
        keep = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        for name, w in weights.items():
            before = self.weights.get(name, torch.zeros_like(w))
            self.weights[name] = keep * before + (1 - keep) * w
        self.updates += 1


@torch.no_grad()
def level(module: nn.Module, weights: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> None:
    """Set the entries in ``noise`` to ``weights``, so that rounding does not grow."""
    for name, parameter in module.named_parameters():
        if name in noise:
            parameter.copy_(torch.where(noise[name], weights[name].float(), parameter))


def largest_gap(
    found: nn.Module, wanted: Mapping[str, Tensor], noise: Mapping[str, Tensor] | None = None
) -> tuple[float, str]:
    """Return the largest difference of weights, and its name; entries in ``noise`` are left out.

    At least nine of ten entries must remain.
    """
    gaps, left, total = {"": 0.0}, 0, 0
    for name, parameter in found.named_parameters():
        gap = (parameter.detach().double() - wanted[name]).abs()
        total += gap.numel()
        if noise is not None and name in noise:
            gap = gap[~noise[name]]
        left += gap.numel()
        gaps[name] = float(gap.max()) if gap.numel() else 0.0
    assert left >= 0.5 * total, f"only {left} of {total} entries can be compared"
    worst = max(gaps, key=gaps.__getitem__)
    return gaps[worst], worst

"""The mask-and-replace process of VQ-Diffusion (arXiv 2111.14822), without its matrices.

Time runs from 0 (clean) to T (noise). From time s to t, a token keeps its code with probability
alpha, becomes each of the K codes with probability beta, and is masked with probability gamma; a
masked token stays masked. Since alpha + K beta + gamma = 1 for every pair of times,
q(x_s | x_t, x_0) has only four outcomes: the clean code, the present code, a random code, the mask.
Posterior, draw and divergence therefore need a few numbers per token instead of K + 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .categorical import FiniteLogits, Generators, sample_categorical, uniform


class Rates(NamedTuple):
    """Probabilities of a transition."""

    alpha: Tensor
    """Of keeping the code."""
    beta: Tensor
    """Of each code."""
    gamma: Tensor
    """Of the mask."""


class MaskAndReplace:
    """The transitions between any two times, computed in float64.

    Args:
        codes: K.
        timesteps: T.
        alpha: cumulative probability to keep the code, at times 1 and T; linear between.
        gamma: cumulative probability to be masked, at times 1 and T; linear between.

    Raises:
        ValueError: if a step would not keep some tokens, replace some and mask some.
    """

    def __init__(
        self, codes: int, timesteps: int, alpha: tuple[float, float], gamma: tuple[float, float]
    ) -> None:
        self.codes, self.timesteps = codes, timesteps
        # On the CPU, also when the network is built on the device "meta", without memory.
        kind: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
        zero, one = torch.zeros(1, **kind), torch.ones(1, **kind)
        if timesteps == 1:
            alpha, gamma = (alpha[1], alpha[1]), (gamma[1], gamma[1])
        self.kept = torch.cat([one, torch.linspace(*alpha, timesteps, **kind)])
        self.masked = torch.cat([zero, torch.linspace(*gamma, timesteps, **kind)])
        self._kept: list[float] = self.kept.tolist()
        self._masked: list[float] = self.masked.tolist()
        self._tables = {"cpu": (self.kept, self.masked)}
        unmasked = (1 - self.masked).diff() / (1 - self.masked[:-1]) + 1
        left = unmasked - self.kept[1:] / self.kept[:-1]
        if not bool((left > 0).all() and (self.masked.diff() > 0).all() and (self.kept > 0).all()):
            raise ValueError(
                "alpha must fall and gamma rise such that each step keeps, masks and replaces some "
                f"tokens, got alpha {alpha} and gamma {gamma}"
            )

    def rates(self, begin: Tensor, end: Tensor) -> Rates:
        """Return the rates float64 from times ``begin`` to ``end``, both int64 of one shape."""
        kept, masked = self._on(begin.device)
        begin, end = begin.to(kept.device), end.to(kept.device)
        alpha = kept[end] / kept[begin]
        unmasked = (1 - masked[end]) / (1 - masked[begin])
        return Rates(alpha, (unmasked - alpha).clamp(min=0) / self.codes, 1 - unmasked)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return ``kept`` and ``masked`` on a GPU, copied there once, and else on the CPU: not all
        devices have float64."""
        key = str(device) if device.type == "cuda" else "cpu"
        if key not in self._tables:
            self._tables[key] = self.kept.to(device), self.masked.to(device)
        return self._tables[key]

    def _rates_of(self, begin: int, end: int) -> tuple[float, float, float]:
        """Return ``rates`` from time ``begin`` to ``end`` as numbers of the host."""
        alpha = self._kept[end] / self._kept[begin]
        unmasked = (1 - self._masked[end]) / (1 - self._masked[begin])
        return alpha, max(unmasked - alpha, 0.0) / self.codes, 1 - unmasked

    def corrupt(self, clean: Tensor, time: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw x_t int64 (B, N), K = masked, from ``clean`` ids (B, N) at times t (B,)."""
        rates = self._columns(self.rates(torch.zeros_like(time), time), clean)
        at = uniform(tuple(clean.shape), generator, clean.device)
        code = uniform(tuple(clean.shape), generator, clean.device) * self.codes
        code = code.long().clamp(max=self.codes - 1)
        replaced = torch.where(at < 1 - rates.alpha, code, clean)
        return replaced.masked_fill(at < rates.gamma, self.codes)

    def noise(self, shape: tuple[int, int], generator: Generators, device: torch.device) -> Tensor:
        """Draw x_T int64 (rows, N): masked, or a random code with the process's probability."""
        at = uniform(shape, generator, device)
        code = (uniform(shape, generator, device) * self.codes).long().clamp(max=self.codes - 1)
        return code.masked_fill(at < self._masked[-1], self.codes)

    def step_back(
        self,
        logits: Tensor,
        now: Tensor,
        begin: int,
        end: int,
        generator: Generators = None,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        finite: FiniteLogits | None = None,
    ) -> Tensor:
        """Draw x_begin int64 (B, N) from p(x_begin | x_end), begin < end, x_end = ``now`` (B, N).

        p = sum over x_0 of q(x_begin | x_end, x_0) p(x_0), where p(x_0) is the softmax of
        ``logits`` (B, N, K), truncated as by ``sample_categorical``. Therefore x_0 is drawn first,
        then one of the four outcomes. Where a masked token stays masked or becomes a random code,
        no x_0 is drawn.
        """
        device = now.device
        start, step, whole = (
            self._rates_of(0, begin), self._rates_of(begin, end), self._rates_of(0, end)
        )  # fmt: skip
        at = uniform(tuple(now.shape), generator, device)
        code = uniform(tuple(now.shape), generator, device) * self.codes
        code = code.long().clamp(max=self.codes - 1)
        masked = now == self.codes
        # The outcome for a masked token does not depend on x_0.
        still = start[2] / whole[2] if whole[2] else 0.0
        reveal = still + step[2] * start[0] / whole[2] if whole[2] else 1.0
        wanted = ~masked | ((at >= still) & (at < reveal))
        clean = sample_categorical(
            logits,
            generator,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            wanted=wanted,
            finite=finite,
        )
        from_mask = torch.where(at < reveal, clean, code).masked_fill(at < still, self.codes)
        # For a code: the products of the transitions x_0 -> x_begin -> x_end, normalized.
        same = clean == now
        norm = torch.where(same, whole[0] + whole[1], whole[1])
        # float32 is enough for products of tiny rates, because only their ratio matters.
        to_clean = start[0] * torch.where(same, step[0] + step[1], step[1]) / norm
        stay = start[1] * step[0] / norm
        from_code = torch.where(at < to_clean, clean, torch.where(at < to_clean + stay, now, code))
        return torch.where(masked, from_mask, from_code)

    def divergence(
        self, log_p: Tensor, clean: Tensor, now: Tensor, begin: Tensor, end: Tensor
    ) -> Tensor:
        """Return KL(q(x_begin | x_end, x_0) || p(x_begin | x_end)) in nats, float32 (B, N).

        ``log_p`` is log p(x_0 | x_end), float32 (B, N, K); ``clean`` is x_0 and ``now`` x_end, both
        int64 (B, N); ``begin`` < ``end`` are int64 (B,). At begin = 0 the result is -log p(clean).
        """
        first = self._columns(self.rates(torch.zeros_like(begin), begin), now)
        step = self._columns(self.rates(begin, end), now)
        whole = self._columns(self.rates(torch.zeros_like(end), end), now)
        a, b = first.alpha, first.beta  # alpha and beta of time `begin`
        masked = now == self.codes
        code = now.masked_fill(masked, 0)
        same = (clean == code) & ~masked

        # The sum over x_0 leads to p(x_0 | x_end) / q(x_end | x_0), normalized: `tilted` below.
        p = log_p.exp()
        log_p_clean, log_p_code = log_p.gather(2, torch.stack([clean, code], 2)).unbind(2)
        p_code = log_p_code.exp()
        # The probability of all codes but the present one, summed directly: 1 - p_code would round.
        others = p.scatter(2, code[..., None], 0).sum(2)
        alike, unlike = whole.alpha + whole.beta, whole.beta
        total = torch.where(masked, 1 / whole.gamma, p_code / alike + others / unlike)
        log_total = total.log()
        log_q = torch.where(masked, whole.gamma, torch.where(same, alike, unlike)).log()
        log_unlike = torch.where(masked, whole.gamma, unlike).log()

        def forward_log(log_tilted: Tensor) -> Tensor:
            """Return log(alpha tilted + beta), the transition to time `begin`."""
            return torch.logaddexp(a.log() + log_tilted, b.clamp(min=1e-38).log())

        log_clean = log_p_clean - log_q - log_total
        log_code = log_p_code - alike.log() - log_total
        at_clean, at_code = forward_log(log_clean), forward_log(log_code)

        # The weights of q: on every code, and in addition on the clean and on the present code.
        q_norm = log_q.exp()
        every = torch.where(masked, step.gamma * b, b * step.beta) / q_norm
        more_clean = (
            a
            * torch.where(masked, step.gamma, torch.where(same, step.alpha + step.beta, step.beta))
            / q_norm
        )
        more_code = torch.where(masked, 0, b * step.alpha) / q_norm

        # The sum over all codes of log(alpha tilted + beta) - log beta.
        ratio = torch.where(b > 0, a / b.clamp(min=1e-38), 0)
        factor = ratio * (-log_unlike - log_total).exp()
        summed = torch.log1p(factor[..., None] * p).sum(2)
        wrong = torch.log1p(factor * p_code)
        right = torch.log1p(ratio * log_code.exp())
        summed = torch.where(masked, summed, summed - wrong + right)

        # At begin = 0, beta is 0, and so are the weights on every code.
        log_b = torch.where(b > 0, b, 1).log()
        # log q - log p, with log q = log(alpha + beta) for the clean code and log beta for others.
        on_clean = every + more_clean + torch.where(same, more_code, 0)
        entropy = on_clean * ((a + b).log() - log_b)
        cross = every * summed + more_clean * (at_clean - log_b) + more_code * (at_code - log_b)
        return entropy - cross - torch.where(masked, 0, log_q + log_total)

    def prior_divergence(self) -> float:
        """Return KL(q(x_T | x_0) || noise) in nats per token, a constant of the bound."""
        alpha, beta, gamma = self._rates_of(0, self.timesteps)
        uniform_share, on_clean = (1 - gamma) / self.codes, alpha + beta
        terms = on_clean * math.log(on_clean / uniform_share) if on_clean > 0 else 0.0
        if beta > 0:
            terms += (self.codes - 1) * beta * math.log(beta / uniform_share)
        return terms

    def _columns(self, rates: Rates, like: Tensor) -> Rates:
        """Return rates (B,) as float32 (B, 1) on the device of ``like``."""
        return Rates(*(rate.float().to(like.device, non_blocking=True)[:, None] for rate in rates))

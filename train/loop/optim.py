"""Optimizers, learning rates, averaged weights and precision of training runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..config.base import AdamWConfig


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group of an optimizer this learning rate, times the group's own ``times``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("times", 1.0)


def lr_scale(step: int, steps: int, warmup: float, schedule: str = "cosine") -> float:
    """Return the learning rate of ``step`` as a share of the largest one, in [0, 1].

    It rises linearly to 1 over the share ``warmup`` of the steps. Then it falls along a cosine to 0
    at ``steps``, or remains 1 if ``schedule`` is "constant".
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def adamw(
    module: nn.Module, config: AdamWConfig, codes: str = "", codes_rate: float = 1.0
) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters of ``module``.

    Matrices decay, except those whose name starts with ``codes``: these do not decay, and their
    learning rate is ``codes_rate`` times that of the others.
    """
    kinds: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix, code = parameter.ndim >= 2, bool(codes) and name.startswith(codes)
        kind = (code or not matrix, codes_rate if matrix and code else 1.0)
        kinds.setdefault(kind, []).append(parameter)
    groups = [
        {
            "params": kinds[undecayed, times],
            "weight_decay": 0.0 if undecayed else config.weight_decay,
            "times": times,
        }
        for undecayed, times in sorted(kinds)
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """Return the running average of a module's weights, which are the weights of a bundle."""
    return AveragedModel(module, multi_avg_fn=_average(decay)).requires_grad_(False).eval()


def _average(decay: float) -> object:
    """Return an EMA of weights whose horizon grows with the run, so that early weights fade."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - now)

    return torch.no_grad()(average)


def use_bf16(precision: str) -> bool:
    """Return True if computing in bfloat16 autocast; "auto": if the GPU or processor supports it.

    ``precision``: "auto", "bf16" or "fp32".
    """
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()

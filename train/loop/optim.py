"""Optimizers, learning rates, averaged weights and precision of training runs."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from regvq.host_values import HostCopy
from regvq.plain import is_plain

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
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=not is_plain())


class RunningAverage(AveragedModel):
    """An EMA of weights whose horizon grows with the run, so that early weights fade.

    ``AveragedModel`` reads the number of averages from the device of the weights at each step.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module)
        self.decay = decay
        self._count = HostCopy()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the averages towards the weights of ``model``, and copy its buffers."""
        own, others = list(self.module.parameters()), list(model.parameters())
        count = self._count(self.n_averaged)
        if count:
            now = min(self.decay, (1 + count) / (10 + count))
            torch._foreach_lerp_(own, others, 1 - now)
        else:
            torch._foreach_copy_(own, others)
        for own_buffer, other in zip(self.module.buffers(), model.buffers(), strict=True):
            own_buffer.copy_(other)
        self._count.raised(self.n_averaged)


def averaged(module: nn.Module, decay: float) -> RunningAverage:
    """Return the running average of a module's weights, which are the weights of a bundle."""
    return RunningAverage(module, decay).requires_grad_(False).eval()


def use_bf16(precision: str) -> bool:
    """Return True if computing in bfloat16 autocast; "auto": if the GPU or processor supports it.

    ``precision``: "auto", "bf16" or "fp32".
    """
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()

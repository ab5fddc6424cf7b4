"""The papers' formulas of quantizers, written literally: autograd keeps every N x K matrix.

They are a reader's first implementation, with which ``lookup.py`` and ``training.py`` compare.
Settings are those of ``kinds.own_config``. Every function takes the ``rows`` (N, d) of latents and
a ``module`` that holds ``codes`` (K, d), and returns the decoder's input (N, d) and the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.analysis.lab.training import even_levels

GRID_LEVELS = 4
"""Numbers per latent of FSQ and FSP, our choice: 16 levels each for 65,536 codes."""
PARTS = 4
"""Levels of residual codes, and groups of product codes."""
DECAY = 0.8
"""Decay of the moving averages, vector-quantize-pytorch's default."""
Form = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]


def distances(rows: Tensor, codes: Tensor) -> Tensor:
    """Return |z|^2 + |e|^2 - 2 z.e, (N, K), as taming-transformers computes it."""
    norms = rows.square().sum(1, keepdim=True) + codes.square().sum(1)
    return norms - 2 * torch.einsum("nd,kd->nk", rows, codes)


def vq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply VQ-VAE."""
    return _nearest(rows, module.codes)[:2]


def averages(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply VQ-VAE with moving averages of the codes, from a one-hot matrix (its appendix A.1)."""
    ids = distances(rows, module.codes).argmin(1)
    chosen = module.codes[ids]
    with torch.no_grad():
        onehot = F.one_hot(ids, len(module.codes)).float()
        module.counts.lerp_(onehot.sum(0), 1 - DECAY)
        module.sums.lerp_(onehot.t() @ rows, 1 - DECAY)
        total, eps = module.counts.sum(), 1e-5
        smoothed = (module.counts + eps) / (total + len(onehot.t()) * eps) * total
        module.codes.copy_(module.sums / smoothed[:, None])
    return rows + (chosen - rows).detach(), F.mse_loss(rows, chosen)


def residual(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply levels of moving averages, each to what the levels before have left."""
    rest, loss = rows, rows.new_zeros(())
    for part in module.parts:
        chosen, more = averages(part, rest)
        rest, loss = rest - chosen.detach(), loss + more
    return rows - rest.detach(), loss  # the sum of the codes, with the gradient of the identity


def product(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply moving averages to groups of channels."""
    groups = rows.chunk(PARTS, 1)
    found = [averages(part, group) for part, group in zip(module.parts, groups, strict=True)]
    return torch.cat([chosen for chosen, _ in found], 1), sum(loss for _, loss in found)


def fsq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply FSQ: projected latents, bounded and rounded, and their ids."""
    half = (module.levels - 1) * (1 + 1e-3) / 2
    offset = torch.where(module.levels % 2 == 0, 0.5, 0.0)
    bounded = (module.to_levels(rows) + (offset / half).atanh()).tanh() * half - offset
    rounded = bounded + (bounded.round() - bounded).detach()
    _ids = ((rounded.detach().long() + module.levels // 2) * module.strides).sum(1)
    return module.from_levels(rounded / (module.levels // 2)), rows.new_zeros(())


def simvq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply SimVQ: all codes through the layer."""
    return _nearest(rows, module.layer(module.codes))[:2]


def nsvq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the first stage of NSVQ."""
    chosen, loss, ids = _nearest(rows, module.codes)
    gaps = distances(rows.detach(), module.codes)
    weights = (-gaps / 0.35).softmax(1).detach()
    weights = weights * (1 - F.one_hot(ids, len(module.codes)))
    return chosen, loss + 0.1 * (weights * gaps).sum() / rows.numel()


def _nearest(rows: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ids = distances(rows, codes).argmin(1)
    chosen = codes[ids]
    loss = F.mse_loss(chosen, rows.detach()) + 0.25 * F.mse_loss(rows, chosen.detach())
    return rows + (chosen - rows).detach(), loss, ids


def regvq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply Reg-VQ with the posterior of distances."""
    codes, size = module.codes, len(module.codes)
    logits = -math.e * distances(rows, codes)
    mask = (torch.rand(len(rows), device=rows.device) < 0.4)[:, None]
    noise = -torch.empty_like(logits).exponential_().log()
    noisy = torch.where(mask, logits + noise, logits)
    onehot = _straight_through(noisy.softmax(1), noisy.argmax(1))
    use = onehot.mean(0)
    loss = 0.01 * (use * (size * (use + 1e-8)).log()).sum()
    best = codes.detach()[logits.argmax(1)]
    return onehot @ codes, loss + 0.25 * F.mse_loss(rows, best)


def gumbel(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply Gumbel-VQ: a head of logits, hard Gumbel-softmax, KL of each position to uniform."""
    logits = module.head(rows)
    onehot = F.gumbel_softmax(logits, tau=0.9, hard=True)
    q = logits.softmax(1)
    loss = 5e-4 * (q * (q * len(module.codes) + 1e-10).log()).sum(1).mean()
    return onehot @ module.codes, loss


def ibq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply IBQ: one-hot over all codes, straight-through, and the entropy term."""
    codes, logits = module.codes, rows @ module.codes.t()
    ids = logits.argmax(1)
    chosen = _straight_through(logits.softmax(1), ids) @ codes
    loss = F.mse_loss(chosen, rows) + F.mse_loss(codes[ids], rows.detach())
    loss = loss + 0.25 * F.mse_loss(rows, codes[ids].detach())
    return chosen, loss + 0.05 * _entropies(logits / 0.01)


def lfq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply LFQ: signs of projected latents, and the entropy term over all codes."""
    size = len(module.codes)
    bits = size.bit_length() - 1
    numbers = module.to_bits(rows)
    signs = torch.where(numbers > 0, 1.0, -1.0)
    place = 2 ** torch.arange(bits, device=rows.device)
    codes = (torch.arange(size, device=rows.device)[:, None] // place % 2) * 2.0 - 1
    loss = 0.25 * F.mse_loss(numbers, signs) + 0.1 * _entropies(2 / 0.01 * numbers @ codes.t())
    return module.from_bits(signs + (numbers - numbers.detach())), loss


def bsq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply BSQ: signs of projected latents of unit length, and the entropy term of each bit."""
    numbers = F.normalize(module.to_bits(rows), dim=1, eps=1e-4)
    scale = numbers.shape[1] ** -0.5
    codes = torch.where(numbers > 0, scale, -scale)
    both = torch.stack([numbers, -numbers], 2) * 2 * scale
    loss = 0.1 * torch.stack([_entropies(bit) for bit in both.unbind(1)]).sum()
    return module.from_bits(codes + (numbers - numbers.detach())), loss


def diveq(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply DiVeQ: an error of differentiable length along a noisy direction."""
    chosen = module.codes[distances(rows, module.codes).argmin(1)]
    error = chosen - rows
    direction = F.normalize(error + 1e-3 * torch.randn_like(error), dim=1).detach()
    return rows + error.norm(dim=1, keepdim=True) * direction, rows.new_zeros(())


def fsp(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply FSP: projected latents in (0, 1), moved at random, a loss on their two moments, and the
    ids of their intervals."""
    numbers = module.to_levels(rows)
    quantiles = (numbers.tanh() + 1) / 2
    moved = quantiles + (torch.rand_like(quantiles) * 2 - 1) / (2 * module.levels)
    moved = torch.where((moved > 0) & (moved < 1), moved, quantiles)
    _ids = ((quantiles.detach() * module.levels).long() * module.strides).sum(1)
    loss = 0.1 * numbers.mean(0).square().mean()
    loss = loss + 0.07 * (numbers.var(0) - 0.8225).square().mean()
    return module.from_levels((moved - 0.5) * math.sqrt(12)), loss


def _straight_through(soft: Tensor, ids: Tensor) -> Tensor:
    return F.one_hot(ids, soft.shape[1]).float() + soft - soft.detach()


def _entropies(logits: Tensor) -> Tensor:
    """Return E[H(p)] - H(E[p])."""
    p, log_p = logits.softmax(1), logits.log_softmax(1)
    mean = p.mean(0)
    return -(p * log_p).sum(1).mean() + (mean * (mean + 1e-8).log()).sum()


FORMS: dict[str, Form] = {
    "vq": vq,
    "vq-ema": averages,
    "simvq": simvq,
    "regvq": regvq,
    "nsvq": nsvq,
    "gumbel": gumbel,
    "ibq": ibq,
    "fsq": fsq,
    "lfq": lfq,
    "bsq": bsq,
    "diveq": diveq,
    "fsp": fsp,
    "residual": residual,
    "product": product,
}


def build(name: str, size: int, dim: int, device: Any) -> nn.Module:
    """Return the parameters of the quantizer ``name`` with ``size`` codes of ``dim`` numbers.

    FSQ and FSP have as many codes as GRID_LEVELS similar numbers of levels allow, ``size`` at most.
    """
    module = nn.Module()
    if name in ("fsq", "fsp"):
        levels = torch.tensor(even_levels(size, GRID_LEVELS))
        module.register_buffer("levels", levels)
        module.register_buffer("strides", levels.cumprod(0) // levels)
        module.to_levels = nn.Linear(dim, GRID_LEVELS)
        module.from_levels = nn.Linear(GRID_LEVELS, dim)
        return module.to(device)
    if name in ("residual", "product"):
        part_dim = dim if name == "residual" else dim // PARTS
        parts = (build("vq-ema", size, part_dim, device) for _ in range(PARTS))
        module.parts = nn.ModuleList(parts)
        return module.to(device)
    codes = torch.randn(size, dim) * dim**-0.5
    frozen = name in ("vq-ema", "simvq", "lfq", "bsq")
    module.codes = nn.Parameter(codes, requires_grad=not frozen)
    if name == "vq-ema":
        module.register_buffer("sums", codes.clone())
        module.register_buffer("counts", torch.ones(size))
    if name == "simvq":
        module.layer = nn.Linear(dim, dim)
    if name == "gumbel":
        module.head = nn.Linear(dim, size)
    if name in ("lfq", "bsq"):
        bits = size.bit_length() - 1
        module.to_bits, module.from_bits = nn.Linear(dim, bits), nn.Linear(bits, dim)
    return module.to(device)

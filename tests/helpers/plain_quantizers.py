"""Every quantizer's training step written a second time: dense, in float64, without tiles.

Each function takes the quantizer, of which only the parameters, buffers and settings are read, and
latents ``z`` (N, D) in rows. It returns the input of the decoder (N, D), whose value is the code
and whose gradient is the estimator's, and the losses by name. Straight-through choices are written
as one-hots, so that nothing is shared with the product but the parameters.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]
Step = tuple[Tensor, dict[str, Tensor]]


def one_hot_through(soft: Tensor, ids: Tensor) -> Tensor:
    """Return one-hots (N, K) with the gradient of ``soft`` (N, K)."""
    hard = F.one_hot(ids, soft.shape[1]).to(soft)
    return hard + soft - soft.detach()


def squared_distances(z: Tensor, codes: Tensor) -> Tensor:
    """Return |z_i - c_k|^2, (N, K)."""
    return (z[:, None, :] - codes[None, :, :]).pow(2).sum(-1)


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).sum() / a.numel()


def entropy_of(p: Tensor) -> Tensor:
    return -(p * torch.log(p + 1e-8)).sum(-1)


def affine_logits(config: Any, parameters: Parameters, z: Tensor) -> Tensor:
    """Return Reg-VQ's and Gumbel-VQ's logits (N, K), up to a constant per row."""
    if getattr(config, "posterior", "head") == "head":
        return z @ parameters["head.weight"].T + parameters["head.bias"]
    distances = squared_distances(z, parameters["codes"])
    return -parameters["log_scale"].exp() * distances


def regvq(
    config: Any,
    parameters: Parameters,
    z: Tensor,
    *,
    noise: Tensor,
    mask: Tensor,
    pictures: int,
    prior: Tensor | None,
) -> Step:
    """Reg-VQ (arXiv 2303.06424): Eq. 1, Algorithm 1 of the stochastic mask."""
    logits, codes = affine_logits(config, parameters, z), parameters["codes"]
    best = logits.argmax(1)
    sure = one_hot_through(torch.softmax(logits, 1), best)
    noisy = logits + noise
    drawn = one_hot_through(torch.softmax(noisy / config.temperature, 1), noisy.argmax(1))
    choice = torch.where(mask[:, None], drawn, sure)
    groups = pictures if config.prior_scope == "image" else 1
    use = choice.view(groups, -1, choice.shape[1]).mean(1)
    target = torch.full_like(use, 1 / use.shape[1]) if prior is None else prior.expand_as(use)
    divergence = (use * torch.log((use + 1e-8) / target)).sum(1).mean()
    losses = {"prior": config.prior_weight * divergence}
    if config.posterior == "distance":
        losses["commitment"] = config.commitment * mean_square(z, codes[best].detach())
    return choice @ codes, losses


def gumbel(
    config: Any,
    parameters: Parameters,
    z: Tensor,
    *,
    noise: Tensor,
    mask: Tensor,
    temperature: float,
) -> Step:
    """Gumbel-VQ (arXiv 1611.01144), with taming-transformers' KL term."""
    logits, codes = affine_logits(config, parameters, z), parameters["codes"]
    sure = one_hot_through(torch.softmax(logits, 1), logits.argmax(1))
    noisy = logits + noise
    drawn = one_hot_through(torch.softmax(noisy / temperature, 1), noisy.argmax(1))
    choice = torch.where(mask[:, None], drawn, sure)
    q = torch.softmax(logits, 1)
    kl = (q * torch.log(q * q.shape[1])).sum(1).mean()
    return choice @ codes, {"kl": config.kl_weight * kl}


def rotated(z: Tensor, code: Tensor) -> Tensor:
    """Return the rotation trick's output (arXiv 2410.06424, section 4.2) by explicit matrices.

    R = I - 2 w w^T + 2 q^ e^T with w the unit vector along e^ + q^; out = |q| / |e| R e.
    """
    with torch.no_grad():
        e, q = F.normalize(z, dim=1), F.normalize(code, dim=1)
        w = F.normalize(e + q, dim=1)
        eye = torch.eye(z.shape[1], dtype=z.dtype)
        matrices = eye - 2 * w[:, :, None] * w[:, None, :] + 2 * q[:, :, None] * e[:, None, :]
        scale = code.norm(dim=1) / z.norm(dim=1)
    return scale[:, None] * (matrices @ z[:, :, None])[:, :, 0]


def vq(config: Any, parameters: Parameters, z: Tensor) -> Step:
    """VQ-VAE (arXiv 1711.00937, Eq. 3), cosine codes, and the rotation trick."""
    codes = parameters["codes"]
    if config.distance == "cosine":
        z = z / z.norm(dim=1, keepdim=True).clamp_min(1e-4)
        codes = codes / codes.norm(dim=1, keepdim=True).clamp_min(1e-4)
    code = codes[squared_distances(z, codes).argmin(1)]
    losses = {"commitment": config.beta * mean_square(z, code.detach())}
    if config.codebook == "gradient":
        losses["codebook"] = mean_square(code, z.detach())
    through = rotated(z, code.detach()) if config.estimator == "rotation" else z
    return code.detach() + through - through.detach(), losses


def simvq(config: Any, parameters: Parameters, z: Tensor, *, frozen: Tensor) -> Step:
    """SimVQ (arXiv 2411.02038): the codes are a linear image of a frozen codebook."""
    codes = frozen @ parameters["projection.weight"].T + parameters["projection.bias"]
    code = codes[squared_distances(z, codes).argmin(1)]
    losses = {
        "commitment": config.beta * mean_square(z, code.detach()),
        "codebook": mean_square(code, z.detach()),
    }
    through = rotated(z, code.detach()) if config.estimator == "rotation" else z
    return code.detach() + through - through.detach(), losses


def nsvq(
    config: Any,
    parameters: Parameters,
    z: Tensor,
    *,
    noise: Tensor,
    mask: Tensor,
    encoder_frozen: bool,
) -> Step:
    """NSVQ (arXiv 2606.11363, Eq. 8 to 11); with the encoder frozen, only the codebook term."""
    codes = parameters["codes"]
    distances = squared_distances(z, codes)
    nearest = distances.argmin(1)
    logits = -distances / config.tau
    ids = torch.where(mask, (logits + noise).argmax(1), nearest)
    losses = {"codebook": mean_square(codes[nearest], z.detach())}
    if not encoder_frozen:
        losses["commitment"] = config.beta * mean_square(z, codes[nearest].detach())
        weights = torch.softmax(logits, 1).detach()
        total = z.new_zeros(())
        for i in range(len(z)):
            for j in range(len(codes)):
                if j != nearest[i]:
                    total = total + weights[i, j] * (z[i].detach() - codes[j]).pow(2).sum()
        losses["nonstationary"] = config.alpha * total / z.numel()
    return codes[ids].detach() + z - z.detach(), losses


def ibq(config: Any, parameters: Parameters, z: Tensor) -> Step:
    """IBQ (arXiv 2412.02692): the one-hot is straight-through over all codes."""
    codes = parameters["codes"]
    logits = z @ codes.T
    ids = logits.argmax(1)
    # The soft choice sends its gradient to the logits, so also to every code through them.
    soft = torch.softmax(logits, 1) @ codes.detach()
    through = codes[ids] + soft - soft.detach()
    p = torch.softmax(logits / config.temperature, 1)
    per_row = -(p * torch.log_softmax(logits / config.temperature, 1)).sum(1).mean()
    losses = {
        "index": mean_square(through, z),
        "codebook": mean_square(codes[ids], z.detach()),
        "commitment": config.beta * mean_square(z, codes[ids].detach()),
        "entropy": config.entropy_weight * (per_row - entropy_of(p.mean(0))),
    }
    return through, losses


def lfq(config: Any, parameters: Parameters, z: Tensor) -> Step:
    """LFQ (arXiv 2310.05737), with the entropies over all 2^m codes."""
    numbers = z @ parameters["to_bits.weight"].T + parameters["to_bits.bias"]
    signs = torch.where(numbers > 0, 1.0, -1.0).to(numbers)
    through = signs + numbers - numbers.detach()
    out = through @ parameters["from_bits.weight"].T + parameters["from_bits.bias"]
    bits = numbers.shape[1]
    codes = torch.tensor(
        [[1.0 if k >> bit & 1 else -1.0 for bit in range(bits)] for k in range(2**bits)],
        dtype=z.dtype,
    )
    p = torch.softmax(2 * numbers @ codes.T / config.temperature, 1)
    per_row = -(p * torch.log_softmax(2 * numbers @ codes.T / config.temperature, 1)).sum(1).mean()
    losses = {
        "commitment": config.commitment * mean_square(numbers, signs),
        "entropy": config.entropy_weight * (per_row - entropy_of(p.mean(0))),
    }
    return out, losses


def fsq(config: Any, parameters: Parameters, z: Tensor) -> Step:
    """FSQ (arXiv 2309.15505), as in its appendix."""
    numbers = z @ parameters["to_levels.weight"].T + parameters["to_levels.bias"]
    columns = []
    for column, level in enumerate(config.levels):
        half = (level - 1) * 1.001 / 2
        offset = 0.5 if level % 2 == 0 else 0.0
        bounded = torch.tanh(numbers[:, column] + math.atanh(offset / half)) * half - offset
        rounded = bounded + (torch.round(bounded) - bounded).detach()
        columns.append(rounded / (level // 2))
    levels = torch.stack(columns, 1)
    return levels @ parameters["from_levels.weight"].T + parameters["from_levels.bias"], {}


def bsq(config: Any, parameters: Parameters, z: Tensor) -> Step:
    """BSQ (arXiv 2406.07548), with the entropies over all values of each group of bits."""
    numbers = z @ parameters["to_bits.weight"].T + parameters["to_bits.bias"]
    numbers = numbers / numbers.norm(dim=1, keepdim=True).clamp_min(1e-4)
    bits = numbers.shape[1]
    code = torch.where(numbers > 0, 1.0, -1.0).to(numbers) / math.sqrt(bits)
    through = code + numbers - numbers.detach()
    out = through @ parameters["from_bits.weight"].T + parameters["from_bits.bias"]
    certainty, evenness = z.new_zeros(()), z.new_zeros(())
    for first in range(0, bits, config.group):
        part = numbers[:, first : first + config.group]
        corners = torch.tensor(
            [[1.0 if k >> bit & 1 else -1.0 for bit in range(config.group)]
             for k in range(2**config.group)],
            dtype=z.dtype,
        ) / math.sqrt(bits)  # fmt: skip
        logits = -squared_distances(part, corners) / config.temperature
        p = torch.softmax(logits, 1)
        certainty = certainty - (p * torch.log_softmax(logits, 1)).sum(1).mean()
        evenness = evenness + entropy_of(p.mean(0))
    losses = {"entropy": config.entropy_weight * (certainty - config.diversity * evenness)}
    if config.commitment:
        losses["commitment"] = config.commitment * (numbers - code).pow(2).sum() / len(z)
    return out, losses


def diveq(config: Any, parameters: Parameters, z: Tensor, *, added: Tensor) -> Step:
    """DiVeQ (arXiv 2509.26469): z + |c - z| u; ``added`` (N, D) is the noise on c - z."""
    codes = parameters["codes"]
    code = codes[squared_distances(z, codes).argmin(1)]
    rows = []
    for latent, chosen, noise in zip(z, code, added, strict=True):
        with torch.no_grad():
            aim = chosen - latent + config.noise * noise
            aim = aim / aim.pow(2).sum().sqrt()
        rows.append(latent + (chosen - latent).pow(2).sum().sqrt() * aim)
    return torch.stack(rows), {}


def fsp(config: Any, parameters: Parameters, z: Tensor, *, moves: Tensor, chances: Tensor) -> Step:
    """FSP (arXiv 2602.17133); ``moves`` and ``chances`` (N, levels) are draws in [0, 1)."""
    numbers = z @ parameters["to_levels.weight"].T + parameters["to_levels.bias"]
    columns = []
    for column, level in enumerate(config.levels):
        values = []
        for row in range(len(z)):
            place = (torch.tanh(numbers[row, column]) + 1) / 2
            moved = place + (2 * moves[row, column] - 1) * 0.5 / level
            center = (math.floor(float(place.detach()) * level) + 0.5) / level
            if chances[row, column] > config.quantize_rate:
                values.append(moved if 0 < float(moved.detach()) < 1 else place)
            else:
                values.append(place + center - place.detach())
        columns.append((torch.stack(values) - 0.5) * math.sqrt(12))
    out = torch.stack(columns, 1) @ parameters["from_levels.weight"].T
    mean = numbers.sum(0) / len(z)
    variance = (numbers - mean).pow(2).sum(0) / (len(z) - 1)
    losses = {
        "mean": config.mean_weight * mean.pow(2).mean(),
        "variance": config.variance_weight * (variance - 0.8225).pow(2).mean(),
    }
    return out + parameters["from_levels.bias"], losses

"""Operations that several quantizers share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .tiled.lookup import nearest_code


def check_ratio(ratio: float) -> None:
    """Raises ValueError unless ``quantizer.mask_ratio`` is in [0, 1]."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"quantizer.mask_ratio must be in [0, 1], got {ratio}")


def stochastic_mask(
    batch: int,
    positions: int,
    ratio: float,
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """Bool (batch, positions), true where the code is to be drawn; the same number in every
    picture.

    ``floor(positions * (1 - ratio))`` positions stay deterministic (section 3.3; that the count is
    exact per picture is inferred).
    """
    kept = math.floor(positions * (1 - ratio) + 1e-9)
    order = torch.rand(batch, positions, generator=generator, device=device).argsort(dim=1)
    return order >= kept


def negative_distances(rows: Tensor, codes: Tensor) -> Tensor:
    """-|row - code|^2, (N, K), of rows (N, D) and codes (K, D)."""
    # through matrix products a distance of 0 would come out as rounding noise
    exact = "donot_use_mm_for_euclid_dist"
    return -torch.cdist(rows, codes, compute_mode=exact).square()


def rotated(rows: Tensor, chosen: Tensor, eps: float = 1e-6) -> Tensor:
    """Rows e (N, D) turned and scaled onto their codes q = ``chosen`` (N, D): the rotation trick.

    (|q| / |e|) (e - 2 (e.w) w + 2 (e.e^) q^) with e^, q^ of unit length and w that of e^ + q^
    (arXiv 2410.06424, section 4.2); every factor but e is a constant. Rows shorter than ``eps``,
    which have no direction, pass straight through.
    """
    length = rows.detach().norm(dim=1, keepdim=True)
    unit = rows.detach() / length.clamp_min(eps)
    reach = chosen.detach().norm(dim=1, keepdim=True)
    aim = chosen.detach() / reach.clamp_min(eps)
    middle = F.normalize(unit + aim, dim=1, eps=eps)
    turned = rows - 2 * (rows * middle).sum(1, keepdim=True) * middle
    turned = turned + 2 * (rows * unit).sum(1, keepdim=True) * aim
    return torch.where(length < eps, rows, turned * (reach / length.clamp_min(eps)))


@torch.no_grad()
def kmeans(rows: Tensor, centres: Tensor, rounds: int) -> Tensor:
    """Lloyd's centres (K, D) of rows (N, D), begun on ``centres``; an empty one stays put."""
    centres = centres.clone()
    for _ in range(rounds):
        ids = nearest_code(rows, centres)
        counts = torch.bincount(ids, minlength=len(centres)).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, ids, rows)
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    return centres


def entropy(p: Tensor, eps: float = 1e-8) -> Tensor:
    """-sum p log(p + eps) of a distribution (K,), in nats; ``eps`` bounds the slope at 0."""
    return -(p * (p + eps).log()).sum()

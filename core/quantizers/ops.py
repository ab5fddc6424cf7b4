"""Operations that several quantizers share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..host_values import count_values, split_places
from .tiled.lookup import nearest_code


def check_ratio(ratio: float) -> None:
    """Raise ValueError unless ``quantizer.mask_ratio`` is in [0, 1]."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"quantizer.mask_ratio must be in [0, 1], got {ratio}")


def check_fall(fall: tuple[float, float]) -> None:
    """Raise ValueError unless ``quantizer.mask_fall`` is two increasing shares of a run."""
    if not 0 <= fall[0] <= fall[1] <= 1:
        raise ValueError(
            f"quantizer.mask_fall must be two increasing numbers in [0, 1], got {fall}"
        )


def falling_ratio(ratio: float, fall: tuple[float, float], progress: float) -> float:
    """Return the mask ratio at ``progress`` in [0, 1]: ``ratio`` up to ``fall[0]``, then a linear
    fall to 0 at ``fall[1]``; always ``ratio`` if ``fall[0]`` is 1."""
    start, end = fall
    if progress < start or start == 1:
        return ratio
    return 0.0 if progress >= end else ratio * (end - progress) / (end - start)


def uniform(
    shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Return ``torch.rand``, which takes no generator, not even None, for shapes that a graph of
    ``torch.compile`` leaves open."""
    return torch.empty(shape, device=device).uniform_(generator=generator)


def normal(
    shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Return ``torch.randn``, as ``uniform``."""
    return torch.empty(shape, device=device).normal_(generator=generator)


def stochastic_mask(
    batch: int,
    positions: int,
    ratio: float,
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """Return Reg-VQ's mask, bool (batch, positions), true where the code is to be drawn.

    In every picture, ``floor(positions * (1 - ratio))`` positions stay deterministic (section 3.3;
    INFERRED: that the number is exact in each picture).
    """
    kept = math.floor(positions * (1 - ratio) + 1e-9)
    order = uniform((batch, positions), generator, device).argsort(dim=1)
    return order >= kept


def places(mask: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Return the drawn and the kept places of a ``stochastic_mask`` of ``ratio``, ascending, int64.

    They number the entries of ``mask`` (batch, positions), row by row.
    """
    flat = mask.flatten()
    batch, positions = mask.shape
    kept = batch * math.floor(positions * (1 - ratio) + 1e-9)
    if not torch.compiler.is_compiling():
        return split_places(flat, batch * positions - kept)
    drawn = torch.nonzero_static(flat, size=batch * positions - kept)
    return drawn.flatten(), torch.nonzero_static(~flat, size=kept).flatten()


def negative_distances(rows: Tensor, codes: Tensor) -> Tensor:
    """Return -|row - code|^2, (N, K), of rows (N, D) and codes (K, D)."""
    # By matrix products, a distance of 0 would become rounding noise.
    exact = "donot_use_mm_for_euclid_dist"
    return -torch.cdist(rows, codes, compute_mode=exact).square()


def rotation_trick(rows: Tensor, chosen: Tensor, eps: float = 1e-6) -> Tensor:
    """Return rows e (N, D) rotated and scaled to their codes q = ``chosen`` (N, D).

    (|q| / |e|) (e - 2 (e.w) w + 2 (e.e^) q^), where e^, q^ and w are e, q and e^ + q^ scaled to
    unit length (arXiv 2410.06424, section 4.2). Every factor except e is constant. Rows shorter
    than ``eps`` have no direction and are returned as they are.
    """
    length = rows.detach().norm(dim=1, keepdim=True)
    unit = rows.detach() / length.clamp_min(eps)
    reach = chosen.detach().norm(dim=1, keepdim=True)
    aim = chosen.detach() / reach.clamp_min(eps)
    middle = F.normalize(unit + aim, dim=1, eps=eps)
    rotated = rows - 2 * (rows * middle).sum(1, keepdim=True) * middle
    rotated = rotated + 2 * (rows * unit).sum(1, keepdim=True) * aim
    return torch.where(length < eps, rows, rotated * (reach / length.clamp_min(eps)))


@torch.no_grad()
def kmeans(rows: Tensor, centers: Tensor, rounds: int) -> Tensor:
    """Return the k-means centers (K, D) of rows (N, D) after some rounds of Lloyd's algorithm.

    ``centers`` are the initial ones. A center without rows stays where it is.
    """
    centers = centers.clone()
    for _ in range(rounds):
        ids = nearest_code(rows, centers)
        counts = count_values(ids, len(centers)).unsqueeze(1)
        sums = torch.zeros_like(centers).index_add_(0, ids, rows)
        centers = torch.where(counts > 0, sums / counts.clamp_min(1), centers)
    return centers


@torch.no_grad()
def replace_by_copies(codes: Tensor, dead: Tensor, uses: Tensor, noise: float, seed: int) -> Tensor:
    """Replace ``dead`` codes int64 (R,) in ``codes`` (K, D) by copies of used ones; return them.

    A copy is drawn in proportion to ``uses`` float64 (K,) and moved by Gaussian noise of this
    standard deviation. ``dead`` and ``uses`` are on the CPU, and ``seed`` makes all processes draw
    the same codes.
    """
    draw = torch.Generator().manual_seed(seed)
    sources = torch.multinomial(uses, len(dead), replacement=True, generator=draw)
    moved = torch.randn(len(dead), codes.shape[1], generator=draw) * noise
    dead, sources = dead.to(codes.device), sources.to(codes.device)
    codes[dead] = codes[sources] + moved.to(codes)
    return dead


def entropy(p: Tensor, eps: float = 1e-8) -> Tensor:
    """Return -sum p log(p + eps) of a distribution (K,), in nats; ``eps`` bounds the slope at 0."""
    return -(p * (p + eps).log()).sum()

"""Rounded masses -- clouds, tree crowns, bushes, rocks -- as heaps of lit balls."""

from __future__ import annotations

import numpy as np

from .canvas import Box, clip


def balls(
    box: Box,
    center_x: np.ndarray,
    center_y: np.ndarray,
    radius: np.ndarray,
    wobble: np.ndarray | None = None,
    melt: float = 0.10,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the outline and normals of a heap of balls over a box of pixels.

    The balls have x, y and radius (n,). Returns (inside, nx, ny), each (h, w): signed distance
    (positive inside) and the outward normal as seen from the front, blended from ball to ball over
    `melt` of a radius so that no crease is visible. `wobble` (h, w), a share of the radius,
    roughens the outline.
    """
    dx = (box.x[None] - center_x[:, None, None]) / radius[:, None, None]
    dy = (box.y[None] - center_y[:, None, None]) / radius[:, None, None]
    hump = 1 - dx * dx - dy * dy
    if wobble is not None:
        hump += wobble
    inside = hump * (0.5 * radius)[:, None, None]
    top = inside.max(axis=0)
    inside -= top
    inside *= np.float32(1 / (melt * float(radius.mean())))
    weight = np.exp(np.maximum(inside, -30, out=inside), out=inside)
    total = weight.sum(axis=0)
    dx = np.broadcast_to(dx, weight.shape)
    dy = np.broadcast_to(dy, weight.shape)
    nx = np.einsum("nhw,nhw->hw", weight, dx) / total
    ny = np.einsum("nhw,nhw->hw", weight, dy) / total
    return top, nx, ny


def lambert(nx: np.ndarray, ny: np.ndarray, light_x: float, light_y: float) -> np.ndarray:
    """Return the light that reaches a rounded surface, 0 .. 1, from its normal's x and y."""
    nz = np.sqrt(np.maximum(0.05, 1 - nx * nx - ny * ny))
    strength = (light_x * light_x + light_y * light_y + 0.3) ** -0.5
    facing = (nx * light_x + ny * light_y + nz * 0.55) * strength
    return clip(0.22 + 0.78 * facing, 0, 1)

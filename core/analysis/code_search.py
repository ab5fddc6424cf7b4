"""Searches for codes: by color, by class, and the most likely ones of a latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ..tokenizer import Tokenizer

# OKLab (Björn Ottosson, 2020): linear sRGB to cone responses, and their cube roots to the space.
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(colors: np.ndarray) -> np.ndarray:
    """Return sRGB colors uint8 (N, 3) in OKLab, float64 (N, 3), where equal distances look alike.

    Lightness is 0 to 1; a just noticeable difference is about 0.02.
    """
    values = np.asarray(colors, np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _CONES.T) @ _OKLAB.T


def codes_by_color(
    mean_colors: np.ndarray,
    color: tuple[int, int, int],
    n: int = 12,
    known: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` codes whose colors are nearest to ``color`` (RGB, 0 to 255), nearest first.

    mean_colors: uint8 (K, 3), the mean color of what each code paints; known: bool (K,), the codes
    that are searched, by default all. Returns ids int64 (m,) and distances in OKLab float32 (m,).
    """
    codes = np.arange(len(mean_colors)) if known is None else np.flatnonzero(known)
    wanted = oklab(np.array([color], np.uint8))
    distances = np.linalg.norm(oklab(mean_colors[codes]) - wanted, axis=1)
    nearest = np.argsort(distances, kind="stable")[:n]
    return codes[nearest].astype(np.int64), distances[nearest].astype(np.float32)


def codes_of_class(
    counts: np.ndarray, kind: int, n: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ``n`` codes that cover most of a class, the one that covers most of it first.

    counts: int64 (K, C), the pixels of each class under the tokens of each code
    (``counts.count_classes``). Returns ids int64 (m,), the share of the class's pixels that each
    code covers and the share of the code's pixels that belong to the class, both float32 (m,);
    codes without a pixel of the class are left out. Raises ValueError if there is no such class.
    """
    if not 0 <= kind < counts.shape[1]:
        raise ValueError(f"classes are 0 to {counts.shape[1] - 1}, got {kind}")
    own = counts[:, kind]
    codes = np.argsort(-own, kind="stable")[:n]
    codes = codes[own[codes] > 0]
    of_class = own[codes] / max(1, int(own.sum()))
    of_code = own[codes] / np.maximum(1, counts[codes].sum(axis=1))
    return codes.astype(np.int64), of_class.astype(np.float32), of_code.astype(np.float32)


@torch.no_grad()
def likely_codes(
    tokenizer: Tokenizer, latent_D: Tensor, n: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ``n`` most likely codes of one latent (D,), the assigned one first.

    Returns ids int64 (m,), their probabilities float32 (m,), p(code | latent) as the quantizer
    defines it, and the Euclidean distances of their vectors to the latent, float32 (m,).
    """
    quantizer = tokenizer.quantizer
    log_p = quantizer.log_posterior(latent_D[None])[0]
    best = log_p.topk(min(n, len(log_p)))
    distances = (quantizer.codebook()[best.indices] - latent_D).square().sum(1).sqrt()
    return (
        best.indices.cpu().numpy(),
        best.values.exp().float().cpu().numpy(),
        distances.float().cpu().numpy(),
    )

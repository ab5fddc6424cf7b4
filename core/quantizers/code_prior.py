"""Priors over codes for Reg-VQ's prior-distribution regularization, beyond the uniform one.

The paper takes the uniform prior and leaves others as future work.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

LEAST = 1e-3  # share of the uniform prior that every code is granted at least


def gaussian_prior(size: int, spread: float) -> Tensor:
    """A Gaussian over code numbers 0 to K - 1, centred, of standard deviation ``spread`` * K.

    Float32 (K,), summing to one.
    """
    position = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    return _distribution((-0.5 * (position / spread).square()).exp())


def read_histogram(file: str | Path, size: int) -> Tensor:
    """Counts of K codes in a file as a prior, float32 (K,), summing to one.

    ``file`` is an .npy array or an .npz with an array ``counts``, as a bundle's ``atlas.npz`` has.
    A code that the counts leave out keeps 1/1000 of the uniform prior, so that the divergence from
    it stays finite. Raises ValueError, naming the file, unless it holds K numbers of 0 or more.
    """
    try:
        loaded = np.load(file, allow_pickle=False)
        counts = np.asarray(loaded if isinstance(loaded, np.ndarray) else loaded["counts"])
        values = torch.from_numpy(counts.astype(np.float64))
    except FileNotFoundError:
        raise ValueError(f"quantizer.prior_file {file} does not exist") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"quantizer.prior_file {file} cannot be read: {error}") from None
    if values.shape != (size,):
        raise ValueError(
            f"quantizer.prior_file {file} must hold {size} numbers, one a code, "
            f"got shape {tuple(values.shape)}"
        )
    if not bool(torch.isfinite(values).all()) or float(values.min()) < 0 or not values.sum() > 0:
        raise ValueError(f"quantizer.prior_file {file} must hold counts of 0 or more, not all 0")
    return _distribution(values)


def _distribution(weights: Tensor) -> Tensor:
    p = weights / weights.sum()
    p = p.clamp_min(LEAST / len(p))
    return (p / p.sum()).float()

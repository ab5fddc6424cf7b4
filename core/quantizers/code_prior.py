"""Priors over codes, other than the uniform one, for Reg-VQ's prior-distribution regularization.

The paper (arXiv 2303.06424) uses the uniform prior and leaves others to future work.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

MIN_SHARE = 1e-3  # of the uniform prior's probability, for every code


def gaussian_prior(size: int, spread: float) -> Tensor:
    """Return a centered Gaussian over code numbers 0 to K - 1, float32 (K,), summing to one.

    Its standard deviation is ``spread`` * K.
    """
    position = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    return _distribution((-0.5 * (position / spread).square()).exp())


def read_histogram(file: str | Path, size: int) -> Tensor:
    """Return the counts of K codes in a file as a prior, float32 (K,), summing to one.

    ``file`` is an .npy array, or an .npz with an array ``counts`` such as a bundle's ``atlas.npz``.
    A code with the count 0 gets 1/1000 of its uniform probability, so that the divergence from the
    prior stays finite. Raises ValueError, naming the file, unless it holds K numbers of 0 or more.
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
            f"quantizer.prior_file {file} must hold {size} numbers, one per code, "
            f"got shape {tuple(values.shape)}"
        )
    if not bool(torch.isfinite(values).all()) or float(values.min()) < 0 or not values.sum() > 0:
        raise ValueError(f"quantizer.prior_file {file} must hold counts of 0 or more, not all 0")
    return _distribution(values)


def _distribution(weights: Tensor) -> Tensor:
    p = weights / weights.sum()
    p = p.clamp_min(MIN_SHARE / len(p))
    return (p / p.sum()).float()

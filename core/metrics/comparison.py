"""The quality of several versions of the same pictures: one table of figures.

A tokenizer's reconstructions and a codec's files are versions; all are measured by the same code on
the same originals, whose features are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean

import torch
from torch import Tensor

from ..losses.perceptual import layer_distance
from .frechet import FrechetStatistics
from .psnr_ssim import mean_psnr, psnr, ssim


class ReconstructionMetrics:
    """Mean PSNR, SSIM and feature distances of versions of pictures, gathered batch by batch.

    ``features`` maps images to a list of maps (B, C, H, W), the deepest last, whose means over
    positions the Fréchet distance is computed on; None: only PSNR and SSIM are measured.
    ``name`` is the prefix of the keys of the figures on them. ``pairs``: further distances of two
    batches of images, (B,), by key. ``sets``: further features of images, (B, D), by the key of the
    Fréchet distance between the sets. ``visible``: returns the three channels of images
    (B, C, H, W) on which all but PSNR and SSIM are measured.
    """

    def __init__(
        self,
        features: Callable[[Tensor], list[Tensor]] | None = None,
        name: str = "feature",
        *,
        pairs: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
        sets: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        visible: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> None:
        self._features = features
        self._name = name
        self._pairs = dict(pairs or {})
        self._sets = dict(sets or {})
        self._visible = visible
        self._values: dict[str, dict[str, list[float]]] = {}
        self._originals: dict[str, FrechetStatistics] = {}
        self._versions: dict[str, dict[str, FrechetStatistics]] = {}

    @torch.no_grad()
    def update(self, originals: Tensor, versions: Mapping[str, Tensor]) -> None:
        """Add ``originals`` (B, C, H, W) in [-1, 1] and versions of that shape by name."""
        seen = self._visible(originals)
        layers = self._features(seen) if self._features is not None else []
        if layers:
            _add(self._originals, f"{self._name}_fd", _pooled(layers))
        for key, features in self._sets.items():
            _add(self._originals, key, features(seen))
        for version, images in versions.items():
            values = self._values.setdefault(version, {})
            statistics = self._versions.setdefault(version, {})
            values.setdefault("psnr", []).extend(psnr(originals, images).tolist())
            values.setdefault("ssim", []).extend(ssim(originals, images).tolist())
            shown = self._visible(images)
            if self._features is not None:
                maps = self._features(shown)
                distances = layer_distance(layers, maps).tolist()
                values.setdefault(f"{self._name}_distance", []).extend(distances)
                _add(statistics, f"{self._name}_fd", _pooled(maps))
            for key, distance in self._pairs.items():
                values.setdefault(key, []).extend(distance(seen, shown).tolist())
            for key, features in self._sets.items():
                _add(statistics, key, features(shown))

    def figures(self, version: str) -> dict[str, float | int]:
        """Return the figures of a version by key.

        ``psnr`` (dB; of the pictures that are not exact copies, whose number is ``exact_copies`` if
        there are some, but not all), ``ssim``, with features ``NAME_distance`` and ``NAME_fd``, and
        the further ones under their keys: means over pictures, except for Fréchet distances, which
        are between the two sets and so need two pictures or more (left out below that). Raises
        KeyError for an unknown version.
        """
        means = {figure: fmean(values) for figure, values in self._values[version].items()}
        decibels = self._values[version]["psnr"]
        means["psnr"] = mean_psnr(decibels)
        exact = sum(map(math.isinf, decibels))
        if 0 < exact < len(decibels):
            means["exact_copies"] = exact
        for key, originals in self._originals.items():
            if originals.count > 1:
                means[key] = originals.distance(self._versions[version][key])
        return means


def as_shown(images: Tensor) -> Tensor:
    """Return images (B, C, H, W) clamped to [-1, 1] and, if they have three channels, rounded to 8
    bits, as a screen shows them.

    Codecs return such pictures, so a decoder's output is compared in the same form. Pictures of
    other channels may have 16 bits: rounding would limit their PSNR to 59 dB.
    """
    images = images.detach().float().nan_to_num(nan=-1.0).clamp(-1.0, 1.0)
    if images.shape[1] != 3:
        return images
    return images.add(1.0).mul(127.5).round().div(127.5).sub(1.0)


def _pooled(layers: list[Tensor]) -> Tensor:
    return layers[-1].float().mean(dim=(2, 3))


def _add(statistics: dict[str, FrechetStatistics], key: str, x: Tensor) -> None:
    if key not in statistics:
        statistics[key] = FrechetStatistics(x.shape[1])
    statistics[key].update(x)

"""Evaluating a tokenizer: reconstruction, codebook usage, and codecs at as many bytes.

Everything is measured on what is decoded from the token ids alone, chosen by argmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..batching import in_batches
from ..errors import DataError
from ..images import to_pictures, to_tensor
from .codebook_usage import usage_of
from .codecs import available_codecs, smallest, token_bytes, within
from .comparison import ReconstructionMetrics, as_shown

if TYPE_CHECKING:
    from ..networks.features import Features
    from ..tokenizer import Tokenizer
    from .inception import Inception
    from .lpips import Lpips

TOKENS = "tokens"


def evaluate_tokenizer(
    tokenizer: Tokenizer,
    pictures: Iterable[Tensor],
    *,
    features: Features | None = None,
    lpips: Lpips | None = None,
    inception: Inception | None = None,
    codecs: bool = False,
    batch: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
    tally: Tensor | None = None,
) -> dict[str, Any]:
    """Figures of a tokenizer on ``pictures``: images (3, H, W) in [-1, 1], of any sizes.

    features: what the feature distances are measured on; they give the keys their name.
    lpips, inception: also LPIPS, and the Fréchet Inception distance of the reconstructions.
    codecs: also code every picture as JPEG, WebP and AVIF at its tokens' bytes (CPU time).
    batch: at most so many consecutive pictures of one size go through together.
    device: where the tokenizer and all features are.
    progress: called with the number of pictures done so far.
    tally: int64 (K,), to which the uses of each code are added.

    Returns ``images``, ``tokens``, ``codebook_size``, ``codes_used``, ``dead_codes``,
    ``utilization``, ``perplexity``, ``bits_per_token``, ``bits_per_pixel``, ``bytes`` (mean per
    picture), ``psnr``, ``ssim``, and, with features, ``features`` (what they are),
    ``NAME_distance`` and ``NAME_fd`` (from two pictures on), with lpips ``lpips_NET``, with
    inception ``rfid`` (on other than the published weights both are named otherwise: their
    ``key``), and ``features_of``, what each of these is computed on; with codecs, ``codecs``: for
    ``jpeg_smallest`` and each codec at equal bytes the same figures with its own mean ``bytes``,
    its mean ``quality``, and ``within_budget``, the share of pictures that it could code in the
    tokens' bytes.
    Raises DataError if there was no picture.
    """
    size, f = tokenizer.codebook_size, tokenizer.downsampling
    pairs = {lpips.key: lpips} if lpips is not None else {}
    sets = {rfid_key(inception): inception} if inception is not None else {}
    quality = ReconstructionMetrics(
        features, features.name if features is not None else "feature", pairs=pairs, sets=sets
    )
    counts = torch.zeros(size, dtype=torch.int64)
    ledger = _CodecRuns()
    images_done = pixels = bytes_spent = 0
    for images in in_batches(pictures, batch):
        images = images.to(device)
        height, width = images.shape[-2:]
        ids = tokenizer.encode(images)
        counts += torch.bincount(ids.flatten().cpu(), minlength=size)
        # The decoder paints whole cells; what lies beyond the picture was padding.
        versions = {TOKENS: as_shown(tokenizer.decode(ids)[..., :height, :width])}
        budget = token_bytes(math.ceil(height / f) * math.ceil(width / f), size)
        if codecs:
            versions |= ledger.code(images, budget)
        quality.update(images, versions)
        images_done += len(images)
        pixels += len(images) * height * width
        bytes_spent += len(images) * budget
        if progress is not None:
            progress(images_done)
    if not images_done:
        raise DataError("there was no picture to evaluate on; give a data set that has some.")

    if tally is not None:
        tally += counts
    usage = usage_of(counts)
    figures: dict[str, Any] = {
        "images": images_done,
        "tokens": usage.tokens,
        "codebook_size": usage.total,
        "codes_used": usage.used,
        "dead_codes": usage.dead,
        "utilization": usage.utilization,
        "perplexity": usage.perplexity,
        "bits_per_token": math.log2(size),
        "bits_per_pixel": usage.tokens * math.log2(size) / pixels,
        "bytes": bytes_spent / images_done,
        **quality.figures(TOKENS),
    }
    if features is not None:
        figures["features"] = features.label
    if pairs or sets:
        figures["features_of"] = {key: measure.label for key, measure in (pairs | sets).items()}
    if codecs:
        figures["codecs"] = {
            name: {**quality.figures(name), **ledger.figures(name)} for name in ledger.names
        }
    return figures


def rfid_key(inception: Inception) -> str:
    """``rfid``, the name of an FID between pictures and their own reconstructions."""
    return "r" + inception.key if inception.published else inception.key


class _CodecRuns:
    """Codes pictures with every codec there is and keeps account of the bytes."""

    def __init__(self) -> None:
        # Per picture: bytes, quality, and whether the budget was kept.
        self._spent: dict[str, list[tuple[int, int, bool]]] = {"jpeg_smallest": []}
        self._spent |= {codec: [] for codec in available_codecs()}

    @property
    def names(self) -> list[str]:
        return list(self._spent)

    def code(self, images: Tensor, budget: int) -> dict[str, Tensor]:
        versions: dict[str, list[Tensor]] = {name: [] for name in self._spent}
        for picture in to_pictures(images):
            for name, spent in self._spent.items():
                least = name == "jpeg_smallest"
                coded = smallest(picture, "jpeg") if least else within(picture, name, budget)
                spent.append((coded.bytes, coded.quality, coded.bytes <= budget))
                versions[name].append(to_tensor(coded.picture))
        return {name: torch.stack(coded).to(images) for name, coded in versions.items()}

    def figures(self, name: str) -> dict[str, float]:
        sizes, qualities, kept = zip(*self._spent[name], strict=True)
        return {"bytes": fmean(sizes), "quality": fmean(qualities), "within_budget": fmean(kept)}

"""The evaluation of a tokenizer: reconstruction, codebook usage, and codecs at as many bytes.

Everything is measured on pictures decoded from the token ids alone, chosen by argmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..batching import in_batches
from ..errors import DataError
from ..images import to_pictures, to_tensor
from ..quantizers.usage import count_ids
from .codebook_usage import level_figures, usage_of_levels
from .comparison import ReconstructionMetrics, as_shown
from .image_codecs import available_codecs, smallest, token_bytes, within

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
    lpips: Lpips | Sequence[Lpips] | None = None,
    inception: Inception | None = None,
    codecs: bool = False,
    batch: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
    code_counts: Tensor | None = None,
) -> dict[str, Any]:
    """Measure a tokenizer on ``pictures``: images (C, H, W) in [-1, 1], of any sizes.

    features: the features of the feature distances; their name is part of the keys.
    lpips: also measure LPIPS, on one network or several.
    inception: also measure the Fréchet Inception distance of the reconstructions.
    codecs: also code every picture as JPEG, WebP and AVIF at its tokens' bytes (CPU time); only
    pictures of three channels can be.
    batch: at most this many consecutive pictures of one size are processed together.
    device: the device of the tokenizer and of all features.
    progress: called with the number of pictures done so far.
    code_counts: int64 (K,), to which the uses of each code are added; with L levels (L, K).

    Returns ``images``, ``tokens``, ``codebook_size``, ``codes_used``, ``dead_codes``,
    ``utilization``, ``perplexity``, ``bits_per_token``, ``bits_per_pixel``, ``bytes`` (mean per
    picture), ``psnr``, ``ssim``, and, with features, ``features`` (their label),
    ``NAME_distance`` and ``NAME_fd`` (from two pictures on), with lpips ``lpips_NET``, with
    inception ``rfid`` (with other than the published weights, the key of either is its own
    ``key``), and ``features_of``, the label of the features of each of these; with codecs,
    ``codecs``: for ``jpeg_smallest`` and each codec at equal bytes the same figures with its own
    mean ``bytes``, its mean ``quality``, and ``within_budget``, the share of pictures that it could
    code in the tokens' bytes; and, unless the channels are the usual three, ``channels`` and
    ``perceptual_channels``, the numbers of those that all features see. Of a tokenizer with several
    levels also ``levels``, ``bits_per_position`` and ``per_level`` (codes used, utilization and
    perplexity of each); its tokens are the ids of all levels, and its codes used, dead codes,
    utilization and perplexity those of ``usage_of_levels``. Raises DataError if there was no
    picture.
    """
    size, f, levels = tokenizer.codebook_size, tokenizer.downsampling, tokenizer.levels
    several = lpips if isinstance(lpips, Sequence) else [lpips] if lpips is not None else []
    pairs = {each.key: each for each in several}
    sets = {rfid_key(inception): inception} if inception is not None else {}
    quality = ReconstructionMetrics(
        features,
        features.name if features is not None else "feature",
        pairs=pairs,
        sets=sets,
        visible=tokenizer.visible,
    )
    counts = no_counts(tokenizer)
    codec_runs = _CodecRuns()
    images_done = pixels = bytes_spent = 0
    for images in in_batches(pictures, batch):
        images = images.to(device)
        height, width = images.shape[-2:]
        ids = tokenizer.encode(images)
        counts += count_ids(ids.cpu(), size, levels)
        # The decoder paints whole cells; pixels beyond the picture are padding.
        versions = {TOKENS: as_shown(tokenizer.decode(ids)[..., :height, :width])}
        budget = token_bytes(levels * math.ceil(height / f) * math.ceil(width / f), size)
        if codecs:
            versions |= codec_runs.code(images, budget)
        quality.update(images, versions)
        images_done += len(images)
        pixels += len(images) * height * width
        bytes_spent += len(images) * budget
        if progress is not None:
            progress(images_done)
    if not images_done:
        raise DataError("there was no picture to evaluate; give a data set that is not empty.")

    if code_counts is not None:
        code_counts += counts
    usage = usage_of_levels(counts)
    figures: dict[str, Any] = {
        "images": images_done,
        "tokens": usage.tokens,
        "codebook_size": size,
        "codes_used": usage.used,
        "dead_codes": usage.dead,
        "utilization": usage.utilization,
        "perplexity": usage.perplexity,
        "bits_per_token": math.log2(size),
        "bits_per_pixel": usage.tokens * math.log2(size) / pixels,
        "bytes": bytes_spent / images_done,
        **quality.figures(TOKENS),
        **_channels_of(tokenizer),
    }
    if levels > 1:
        figures["levels"] = levels
        figures["bits_per_position"] = levels * math.log2(size)
        figures["per_level"] = level_figures(counts)
    if features is not None:
        figures["features"] = features.label
    if pairs or sets:
        figures["features_of"] = {key: measure.label for key, measure in (pairs | sets).items()}
    if codecs:
        figures["codecs"] = {
            name: {**quality.figures(name), **codec_runs.figures(name)} for name in codec_runs.names
        }
    return figures


def _channels_of(tokenizer: Tokenizer) -> dict[str, Any]:
    if tokenizer.channels == 3 and tokenizer.projection == (0, 1, 2):
        return {}
    seen = [place + 1 for place in tokenizer.projection]
    return {"channels": tokenizer.channels, "perceptual_channels": seen}


def no_counts(tokenizer: Tokenizer) -> Tensor:
    """Return zeros, int64 (K,) or (L, K), for the uses of a tokenizer's codes."""
    size, levels = tokenizer.codebook_size, tokenizer.levels
    return torch.zeros(size if levels == 1 else (levels, size), dtype=torch.int64)


def rfid_key(inception: Inception) -> str:
    """Return ``rfid``, the name of an FID between pictures and their own reconstructions.

    With other than the published weights: the ``key`` of ``inception``.
    """
    return "r" + inception.key if inception.published else inception.key


class _CodecRuns:
    """The files of every available codec for each picture: their bytes and qualities."""

    def __init__(self) -> None:
        # Per picture: bytes, quality, and True if they are within the budget.
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

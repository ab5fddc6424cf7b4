"""The distance of reconstructions whose tokens are partly replaced by near ones.

A prior draws some tokens slightly wrong. How much that costs depends on the tokenizer: RobustTok
(arXiv:2503.08354) replaces a share of a picture's tokens by codes among the nearest of each and
measures the pictures again. Its distance is FID; here it is every figure of reconstructions. The
shares and the number of neighbors here are our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..batching import in_batches
from ..errors import DataError
from ..quantizers.levels import one_codebook
from .comparison import ReconstructionMetrics, as_shown

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

SHARES = (0.0, 0.1, 0.25, 0.5)
NEIGHBORS = 10
_CELLS = 1 << 24  # distances that are computed together


def robustness(
    tokenizer: Tokenizer,
    pictures: Iterable[Tensor],
    *,
    shares: Sequence[float] = SHARES,
    neighbors: int = NEIGHBORS,
    pairs: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
    features: Callable[[Tensor], list[Tensor]] | None = None,
    name: str = "feature",
    seed: int = 0,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Measure reconstructions of ``pictures``, images (C, H, W) in [-1, 1], from perturbed tokens.

    shares: the shares of tokens that are replaced, in [0, 1]; each is a row.
    neighbors: a token is replaced by one of this many nearest other codes, all equally likely.
    pairs, features, name: as those of ``ReconstructionMetrics``.
    seed: of the places and of the codes; places of a smaller share are among those of a larger.

    Returns ``neighbors``, ``seed``, ``images`` and ``rows``, for each share its ``share`` and the
    figures of ``ReconstructionMetrics``. Raises ValueError for a share outside [0, 1] or for
    neighbors that the codebook does not have, for a tokenizer with several levels, and DataError
    if there was no picture.
    """
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares must be from 0 to 1, got {list(shares)}")
    quantizer = one_codebook(
        tokenizer.quantizer, "robustness, which replaces tokens by near codes,"
    )
    if not 1 <= neighbors < tokenizer.codebook_size:
        raise ValueError(
            f"neighbors must be from 1 to {tokenizer.codebook_size - 1}, the number of other codes "
            f"of this codebook, got {neighbors}"
        )
    quality = ReconstructionMetrics(features, name, pairs=pairs, visible=tokenizer.visible)
    generator = torch.Generator().manual_seed(seed)
    count = 0
    for images in in_batches(pictures, batch):
        images = images.to(device)
        height, width = images.shape[-2:]
        ids = tokenizer.encode(images)
        order = torch.rand(ids.shape, generator=generator).to(ids.device)
        used, number = ids.unique(return_inverse=True)
        near = near_codes(quantizer.codebook(), used, neighbors)
        pick = torch.randint(neighbors, ids.shape, generator=generator).to(ids.device)
        others = near[number, pick]
        versions = {
            str(share): as_shown(
                tokenizer.decode(ids.where(order >= share, others))[..., :height, :width]
            )
            for share in shares
        }
        quality.update(images, versions)
        count += len(images)
    if not count:
        raise DataError("there was no picture to evaluate; give a data set that is not empty.")
    rows = [{"share": share, **quality.figures(str(share))} for share in shares]
    return {"neighbors": neighbors, "seed": seed, "images": count, "rows": rows}


def near_codes(codebook: Tensor, ids: Tensor, neighbors: int) -> Tensor:
    """Return the nearest other codes of ``ids`` (N,) in a codebook (K, D): int64 (N, neighbors).

    The nearest comes first.
    """
    codebook = codebook.detach().float()
    parts = []
    for some in ids.split(max(_CELLS // len(codebook), 1)):
        distances = torch.cdist(codebook[some], codebook)
        distances[torch.arange(len(some)), some] = torch.inf
        parts.append(distances.topk(neighbors, largest=False).indices)
    return torch.cat(parts)

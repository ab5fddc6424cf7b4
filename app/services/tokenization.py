"""A picture as latents and tokens, cached, and tokens as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .cache import RecentItems
from .channels import image_of
from .checkpoints import TokenizerHandle
from .model_lock import LOCK
from .uploads import Picture

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """A picture as tokens."""

    ids: np.ndarray
    """int64 (h, w)"""
    drawn: np.ndarray | None
    """bool (h, w): the tokens that the stochastic mask drew at random; None without a mask."""


@lru_cache(maxsize=12)
def latents(handle: TokenizerHandle, picture: Picture) -> Tensor:
    """Return the picture's latents (1, D, h, w); another draw or mask needs no new encoding."""
    return handle.tokenizer.latents(image_of(handle, picture)[None])


_known: RecentItems[tuple[TokenizerHandle, str, float, int], Tokens] = RecentItems(256)
"""The tokens by the picture's digest: a cached grid keeps no picture in memory."""


def known_tokens(handle: TokenizerHandle, picture: Picture) -> Tokens:
    """Return the picture's tokens; if they are cached, without waiting for a running model."""
    found = _known.get((handle, picture.digest, 0.0, 0))
    if found is None:
        with LOCK:
            found = tokenize(handle, picture)
    return found


def tokenize(
    handle: TokenizerHandle, picture: Picture, mask_ratio: float = 0.0, seed: int = 0
) -> Tokens:
    """Return the picture's tokens, the share ``mask_ratio`` of them drawn at random by ``seed``.

    The caller holds ``model_lock.LOCK``.
    """
    key = (handle, picture.digest, mask_ratio, seed)
    found = _known.touch(key)
    if found is None:
        found = _known[key] = _tokenize(handle, picture, mask_ratio, seed)
    return found


def _tokenize(handle: TokenizerHandle, picture: Picture, mask_ratio: float, seed: int) -> Tokens:
    import torch

    if handle.level is not None and not mask_ratio:
        return Tokens(all_levels(handle, picture)[handle.level - 1], None)
    tokenizer = handle.tokenizer
    generator = torch.Generator(tokenizer.device).manual_seed(seed)
    with torch.no_grad():
        quantized = tokenizer.quantizer(
            latents(handle, picture), mask_ratio=mask_ratio, generator=generator
        )
    drawn = None if quantized.mask is None else quantized.mask[0].cpu().numpy()
    return Tokens(quantized.ids[0].cpu().numpy(), drawn)


@lru_cache(maxsize=12)
def all_levels(handle: TokenizerHandle, picture: Picture) -> np.ndarray:
    """Return the picture's ids at all levels of a tokenizer with several, int64 (L, h, w)."""
    return handle.whole.encode(image_of(handle, picture)[None])[0].cpu().numpy()


def decode_image(handle: TokenizerHandle, picture: Picture, ids: np.ndarray) -> Tensor:
    """Return the image (C, H, W) decoded from ids int64 (h, w), at the size of ``picture``.

    Of a level, its own tokens of the levels before are decoded with them.
    """
    import torch

    width, height = picture.image.size
    if handle.level is not None:
        before = all_levels(handle, picture)[: handle.level - 1]
        ids = np.concatenate([before, ids[None]])
    return handle.whole.decode(torch.from_numpy(ids)[None])[0, :, :height, :width].cpu()

"""A picture as latents and tokens, cached, and tokens as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .checkpoints import TokenizerHandle
from .uploads import Picture

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
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
    from regvq.images import to_tensor

    return handle.tokenizer.latents(to_tensor(picture.image)[None])


@lru_cache(maxsize=24)
def tokenize(
    handle: TokenizerHandle, picture: Picture, mask_ratio: float = 0.0, seed: int = 0
) -> Tokens:
    """Return the picture's tokens, the share ``mask_ratio`` of them drawn at random by ``seed``."""
    import torch

    tokenizer = handle.tokenizer
    generator = torch.Generator(tokenizer.device).manual_seed(seed)
    with torch.no_grad():
        quantized = tokenizer.quantizer(
            latents(handle, picture), mask_ratio=mask_ratio, generator=generator
        )
    drawn = None if quantized.mask is None else quantized.mask[0].cpu().numpy()
    return Tokens(quantized.ids[0].cpu().numpy(), drawn)


def decode_picture(handle: TokenizerHandle, picture: Picture, ids: np.ndarray) -> Image.Image:
    """Return the picture decoded from ids int64 (h, w), at the size of ``picture``."""
    import torch

    from regvq.images import to_pictures

    width, height = picture.image.size
    pixels = handle.tokenizer.decode(torch.from_numpy(ids)[None])[..., :height, :width]
    return to_pictures(pixels.cpu())[0]

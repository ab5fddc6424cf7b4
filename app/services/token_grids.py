"""The tokens of a picture as pictures of its size, in several colors."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from .code_stats import atlas
from .decoded_picture import reconstruct
from .encoding import png
from .reconstruction_request import ReconstructionRequest
from .token_pictures import enlarge_grid

TOKEN_COLORS = ("mean", "patch", "number")
"""The ways to draw a token: its code's mean color, its code's tile, a color per code number."""
AT_ONCE = 0.3
"""Seconds in which missing tiles of a picture's codes are painted before it is shown."""


def token_pngs(request: ReconstructionRequest) -> dict[str, bytes]:
    """Return the token grid at the picture's size, without smoothing, in each of TOKEN_COLORS.

    A code that is not painted yet is drawn in the color that its tokens have in the decoded
    picture. The caller holds ``model_lock.LOCK``.
    """
    known, codes = atlas(request.handle), np.unique(request.ids)
    known.look(codes, AT_ONCE)
    return _token_pngs(request, int(known.painted[codes].sum()))


@lru_cache(maxsize=12)
def _token_pngs(request: ReconstructionRequest, painted: int) -> dict[str, bytes]:
    """``painted``, the number of the picture's codes that are painted, makes the pictures anew."""
    from regvq.analysis.rendering import number_colors, token_picture

    tokenizer, size = request.handle.tokenizer, request.picture.image.size
    known, f, ids = atlas(request.handle), tokenizer.downsampling, request.ids
    codes, places = np.unique(ids, return_inverse=True)
    places = places.reshape(ids.shape)
    colors, tiles = known.colors[codes], known.tiles[codes]
    if painted < len(codes):
        missing = ~known.painted[codes]
        colors[missing] = _decoded_colors(request, places, len(codes))[missing]
        tiles[missing] = colors[missing, None, None]
    numbers = number_colors(tokenizer.codebook_size)[codes]
    pixels = {
        name: enlarge_grid(token_picture(places, table), f, size)
        for name, table in {"mean": colors, "number": numbers}.items()
    }
    pixels["patch"] = token_picture(places, tiles)[: size[1], : size[0]]
    return {name: png(Image.fromarray(pixels[name])) for name in TOKEN_COLORS}


def _decoded_colors(request: ReconstructionRequest, places: np.ndarray, count: int) -> np.ndarray:
    """Return the mean color, uint8 (n, 3), of the decoded picture under the tokens of each code."""
    from regvq.images import open_picture

    pixels = np.asarray(open_picture(reconstruct(request).decoded))
    height, width = pixels.shape[:2]
    at = enlarge_grid(places, request.handle.tokenizer.downsampling, (width, height)).ravel()
    uses = np.maximum(np.bincount(at, minlength=count), 1)
    sums = [np.bincount(at, pixels[..., c].ravel(), count) / uses for c in range(3)]
    return np.rint(np.stack(sums, axis=1)).astype(np.uint8)

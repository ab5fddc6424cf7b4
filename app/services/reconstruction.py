"""A picture decoded from its tokens: request, pictures, figures and views, for every tab.

Each part of a ``Reconstruction`` is computed when it is first used and kept, so that Reconstruct
and Compare share what they have in common, and neither computes what only the other shows.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .cache import RecentItems
from .checkpoints import TokenizerHandle, open_tokenizer
from .code_stats import atlas, code_sheet, tiles_view
from .encoding import PageFile, pack, png
from .formatting import format_bytes
from .model_lock import one_at_a_time
from .precision import is_slow
from .token_pictures import ERROR_TOP, enlarge_grid
from .tokenization import decode_picture, tokenize
from .uploads import Picture, open_picture, original_png
from .validation import MAX_SEED, finite, number, whole_number

if TYPE_CHECKING:
    from torch import Tensor

TOKEN_COLORS = ("mean", "patch", "number")
"""The ways to draw a token: its code's mean color, its code's tile, a color per code number."""
AT_ONCE = 0.3
"""Seconds in which missing tiles of a picture's codes are painted before it is shown."""
SSIM_WINDOW = 11
"""Side of SSIM's window in pixels; a smaller picture has no SSIM."""

Edits = tuple[tuple[int, int, int], ...]
"""(row, column, code) of each token whose code a user has replaced."""


@dataclass(frozen=True)
class ReconstructionRequest:
    """The tokenizer, the picture, and how its tokens are chosen. Equal requests, equal results."""

    handle: TokenizerHandle
    picture: Picture
    mask_ratio: float = 0.0
    """Share of the tokens that are drawn at random."""
    seed: int = 0
    edits: Edits = ()

    @property
    def signature(self) -> list[Any]:
        """The picture, checkpoint and draw that edits belong to; elsewhere they make no sense."""
        handle = self.handle
        return [handle.name, handle.written, self.picture.digest, self.mask_ratio, self.seed]

    def with_saved_edits(self, saved: dict[str, Any] | None) -> ReconstructionRequest:
        """Return the request with the edits of a user's session, if they belong to it."""
        edits = tuple(saved["edits"]) if saved and saved["of"] == self.signature else ()
        return replace(self, edits=edits)

    @cached_property
    def ids(self) -> np.ndarray:
        """The token ids int64 (h, w), edits included."""
        from regvq.analysis.token_edits import edited

        ids = tokenize(self.handle, self.picture, self.mask_ratio, self.seed).ids
        size = self.handle.tokenizer.codebook_size
        return edited(ids, self.edits, size) if self.edits else ids


def parse_request(
    image: Any, checkpoint: Any, mask_ratio: Any = 0.0, seed: Any = 0
) -> ReconstructionRequest:
    """Return a user's request, checked. Raises UserError or PictureError."""
    return ReconstructionRequest(
        open_tokenizer(checkpoint),
        open_picture(image),
        number(mask_ratio, "mask ratio", 0, 1),
        whole_number(seed, "seed", 0, MAX_SEED),
    )


class Reconstruction:
    """A picture decoded from its tokens. Pictures are PNG files of one size."""

    def __init__(self, request: ReconstructionRequest) -> None:
        self.request = request

    def has(self, *parts: str) -> bool:
        """Return True if these parts are computed already."""
        return set(parts) <= vars(self).keys()

    @property
    def original(self) -> bytes:
        """The picture itself."""
        return original_png(self.request.picture)

    @cached_property
    def decoded(self) -> bytes:
        """The picture decoded from its tokens."""
        request = self.request
        return png(decode_picture(request.handle, request.picture, request.ids))

    def _pair(self) -> tuple[Tensor, Tensor]:
        """Return the original and the decoded picture (3, H, W), as shown: 8 bits per channel."""
        from regvq.images import open_picture, to_tensor

        return to_tensor(self.request.picture.image), to_tensor(open_picture(self.decoded))

    @cached_property
    def error(self) -> bytes:
        """The difference between the two, as colors."""
        from regvq.analysis.rendering import color_error, error_map

        return png(Image.fromarray(color_error(error_map(*self._pair()), top=ERROR_TOP)))

    @cached_property
    def quality(self) -> dict[str, Any]:
        """PSNR in dB (None: identical), SSIM (None: too small), and the number of codes used."""
        from regvq.metrics.psnr_ssim import psnr, ssim

        original, decoded = (image[None] for image in self._pair())
        large = min(self.request.picture.image.size) >= SSIM_WINDOW
        return {
            "psnr": finite(float(psnr(original, decoded)[0])),
            "ssim": finite(float(ssim(original, decoded)[0])) if large else None,
            "codes_used": len(set(self.request.ids.flat)),
        }

    @cached_property
    def _jpeg(self) -> tuple[bytes, int, float | None]:
        from regvq.images import to_tensor
        from regvq.metrics.image_codecs import within
        from regvq.metrics.psnr_ssim import psnr

        picture = self.request.picture.image
        found = within(picture, "jpeg", self.token_bytes)
        quality = psnr(to_tensor(picture)[None], to_tensor(found.picture)[None])[0]
        return png(found.picture), found.bytes, finite(float(quality))

    @property
    def jpeg(self) -> bytes:
        """The picture as JPEG in no more bytes than the tokens need, if JPEG can be so small."""
        return self._jpeg[0]

    @property
    def token_bytes(self) -> int:
        """The size of the tokens, stored with log2 K bits each."""
        from regvq.metrics.image_codecs import token_bytes

        return token_bytes(self.request.ids.size, self.request.handle.tokenizer.codebook_size)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """All figures of the tab Reconstruct, as JSON."""
        from regvq.metrics.image_codecs import smallest

        request, quality = self.request, self.quality
        picture, ids, tokenizer = request.picture, request.ids, request.handle.tokenizer
        drawn = tokenize(request.handle, picture, request.mask_ratio, request.seed).drawn
        _, jpeg_bytes, jpeg_psnr = self._jpeg
        return {
            "psnr": quality["psnr"],
            "ssim": quality["ssim"],
            "width": picture.image.width,
            "height": picture.image.height,
            "uploaded_width": picture.uploaded[0],
            "uploaded_height": picture.uploaded[1],
            "tokens": ids.size,
            "tokens_wide": ids.shape[1],
            "tokens_high": ids.shape[0],
            "tokens_drawn": 0 if drawn is None else int(drawn.sum()),
            "codes_used": quality["codes_used"],
            "codebook_size": tokenizer.codebook_size,
            "downsampling": tokenizer.downsampling,
            "bits_per_token": math.log2(tokenizer.codebook_size),
            "bytes_tokens": self.token_bytes,
            "bytes_png": len(self.original),
            "bytes_jpeg": _jpeg_bytes(picture.image, 75),
            "bytes_jpeg_smallest": smallest(picture.image, "jpeg").bytes,
            "bytes_jpeg_equal": jpeg_bytes,
            "psnr_jpeg_equal": jpeg_psnr,
            "tokens_edited": len({(row, column) for row, column, _ in request.edits}),
            "mask_ratio": request.mask_ratio,
            "seed": request.seed,
            "checkpoint": request.handle.name,
        }


def _jpeg_bytes(picture: Image.Image, quality: int) -> int:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return buffer.tell()


_cache: RecentItems[ReconstructionRequest, Reconstruction] = RecentItems(36)


def reconstruct(request: ReconstructionRequest) -> Reconstruction:
    """Return the reconstruction that ``request`` asks for, from the cache if it is there.

    The caller holds ``model_lock.LOCK``.
    """
    found = _cache.touch(request)
    if found is None:
        found = _cache[request] = Reconstruction(request)
    return found


def cached(request: ReconstructionRequest) -> Reconstruction | None:
    """Return the reconstruction if it is in the cache; no lock is needed."""
    return _cache.get(request)


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


@one_at_a_time
def run(request: ReconstructionRequest) -> tuple[Reconstruction, dict[str, bytes]]:
    """Return the reconstruction, every part of it computed, and the token grids as PNG."""
    found = reconstruct(request)
    _ = found.decoded, found.error, found.figures
    return found, token_pngs(request)


# ---------------------------------------------------------------- views


@one_at_a_time
def first_view(request: ReconstructionRequest) -> dict[str, Any]:
    """Return what the page draws before the picture is compared with its original."""
    found, ids, tokenizer = reconstruct(request), request.ids, request.handle.tokenizer
    rows, columns = ids.shape
    return {
        "original": PageFile(found.original, "original"),
        "reconstruction": PageFile(found.decoded, "reconstruction"),
        "tokens": {
            name: PageFile(data, f"tokens-{name}") for name, data in token_pngs(request).items()
        },
        "width": request.picture.image.width,
        "height": request.picture.image.height,
        "grid": f"{columns} × {rows}",
        "errorTop": ERROR_TOP,
        "ramp": ramp_css(),
        "rows": rows,
        "columns": columns,
        "patch": tokenizer.downsampling,
        "codes": tokenizer.codebook_size,
        "ids": pack(ids, "<u4"),
        **_tiles(request),
        "note": _note(request),
        "edited": [[row, column] for row, column, _ in request.edits],
    }


def _tiles(request: ReconstructionRequest) -> dict[str, Any]:
    """Return the tiles of all codes, or those of the picture's codes that are painted."""
    if sheet := code_sheet(request.handle):
        return {"sprite": sheet}
    return {"sprite": None, "tiles": tiles_view(request.handle, request.ids)}


def _note(request: ReconstructionRequest) -> str:
    """Return a sentence about a large tokenizer, or nothing."""
    words = []
    tokenizer, known = request.handle.tokenizer, atlas(request.handle)
    codes = np.unique(request.ids)
    painted = int(known.painted[codes].sum())
    if painted < len(codes):
        words.append(
            f"{painted:,} of this picture's {len(codes):,} codes are painted so far; the others "
            "have the color that is decoded in their places."
        )
    if is_slow(tokenizer):
        words.append(
            "This large network computes in float32, for the processor does not compute in "
            "bfloat16: 512 × 512 pixels take about 10 s on two cores."
        )
    return " ".join(words)


@one_at_a_time
def comparison_view(request: ReconstructionRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the comparison with the original adds to the page, and the figures."""
    found = reconstruct(request)
    return {
        "error": PageFile(found.error, "error"),
        "jpeg": PageFile(found.jpeg, "jpeg"),
        "jpegBytes": format_bytes(found.figures["bytes_jpeg_equal"]),
    }, found.figures


def full_view(request: ReconstructionRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all that the page draws of a reconstruction, and the figures."""
    more, figures = comparison_view(request)
    return {**first_view(request), **more}, figures


@lru_cache(maxsize=1)
def ramp_css() -> str:
    """Return the color scale of the error map as a CSS gradient."""
    from regvq.analysis.rendering import ramp

    stops = ",".join("#" + bytes(color).hex() for color in ramp(np.linspace(0, 1, 16)))
    return f"linear-gradient(90deg,{stops})"

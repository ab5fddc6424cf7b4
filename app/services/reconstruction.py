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

from regvq.channels import Projection, project

from .cache import RecentItems
from .channels import channels_note, image_of, kept_shown, parse_shown, picture_for, shown_pixels
from .checkpoints import TokenizerHandle, open_tokenizer
from .code_stats import atlas, code_sheet, tiles_view
from .encoding import PageFile, pack, png
from .formatting import format_bytes
from .model_lock import one_at_a_time
from .precision import is_slow
from .token_pictures import ERROR_TOP, enlarge_grid
from .tokenization import all_levels, decode_image, tokenize
from .uploads import Picture, original_png
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
    shown: Projection | None = None
    """Places of the channels that are shown, of a tokenizer that has not three; None: its own."""

    @property
    def places(self) -> Projection:
        """The places of the channels that are shown as red, green and blue."""
        return self.shown or self.handle.tokenizer.projection

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
    image: Any, checkpoint: Any, mask_ratio: Any = 0.0, seed: Any = 0, shown: Any = ""
) -> ReconstructionRequest:
    """Return a user's request, checked. Raises UserError or PictureError."""
    handle = open_tokenizer(checkpoint)
    return ReconstructionRequest(
        handle,
        picture_for(handle, image),
        number(mask_ratio, "mask ratio", 0, 1),
        whole_number(seed, "seed", 0, MAX_SEED),
        shown=parse_shown(handle, shown),
    )


def page_request(
    image: Any, checkpoint: Any, mask_ratio: Any, seed: Any, edits: Any, shown: Any
) -> ReconstructionRequest:
    """Return the request of the page's settings: edits that belong to another picture are left out,
    and so are shown channels that the checkpoint has not. Raises UserError or PictureError."""
    request = parse_request(image, checkpoint, mask_ratio, seed).with_saved_edits(edits)
    return replace(request, shown=kept_shown(request.handle, shown))


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
        return (
            png(self._image, effort=6) if self.request.shown else original_png(self.request.picture)
        )

    @property
    def _image(self) -> Image.Image:
        """The picture itself, as it is shown."""
        picture, shown = self.request.picture, self.request.shown
        if shown is None or picture.array is None:
            return picture.image
        return shown_pixels(picture.array, shown)

    @cached_property
    def decoded(self) -> bytes:
        """The picture decoded from its tokens."""
        from regvq.images import to_pictures

        request = self.request
        image = decode_image(request.handle, request.picture, request.ids)
        return png(to_pictures(project(image, request.places)[None])[0])

    def _pair(self) -> tuple[Tensor, Tensor]:
        """Return the original and the decoded picture (C, H, W): three channels as shown, with 8
        bits, others as they are decoded."""
        from regvq.images import open_picture, to_tensor

        request = self.request
        if request.handle.channels == 3:
            return to_tensor(request.picture.image), to_tensor(open_picture(self.decoded))
        original = image_of(request.handle, request.picture)
        return original, decode_image(request.handle, request.picture, request.ids)

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
            "codes_used": sum(len(set(ids.flat)) for ids in self._all_ids()),
        }

    def _all_ids(self) -> list[np.ndarray]:
        """Return the ids int64 (h, w) of each level that the picture is decoded from."""
        request = self.request
        if request.handle.level is None:
            return [request.ids]
        before = all_levels(request.handle, request.picture)[: request.handle.level - 1]
        return [*before, request.ids]

    @property
    def tokens(self) -> int:
        """The number of ids that the picture is decoded from, those of all levels."""
        return int(self.request.ids.size) * self.request.handle.shown_levels

    @cached_property
    def _jpeg(self) -> tuple[bytes, int, float | None]:
        from regvq.images import to_tensor
        from regvq.metrics.image_codecs import within
        from regvq.metrics.psnr_ssim import psnr

        picture = self._image
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

        return token_bytes(self.tokens, self.request.handle.tokenizer.codebook_size)

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
            "tokens": self.tokens,
            "tokens_wide": ids.shape[1],
            "tokens_high": ids.shape[0],
            "tokens_drawn": 0 if drawn is None else int(drawn.sum()),
            "codes_used": quality["codes_used"],
            "codebook_size": tokenizer.codebook_size,
            "downsampling": tokenizer.downsampling,
            "bits_per_token": math.log2(tokenizer.codebook_size),
            "bytes_tokens": self.token_bytes,
            "bytes_png": len(self.original),
            "bytes_jpeg": _jpeg_bytes(self._image, 75),
            "bytes_jpeg_smallest": smallest(self._image, "jpeg").bytes,
            "bytes_jpeg_equal": jpeg_bytes,
            "psnr_jpeg_equal": jpeg_psnr,
            "tokens_edited": len({(row, column) for row, column, _ in request.edits}),
            "mask_ratio": request.mask_ratio,
            "seed": request.seed,
            "checkpoint": request.handle.name,
            "channels": request.handle.channels,
            "shown_channels": [place + 1 for place in request.places],
            **({} if request.handle.level is None else {"level": request.handle.level}),
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
def encode(request: ReconstructionRequest) -> None:
    """Encode the picture, so that the next view has its tokens already."""
    _ = request.ids


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
    if note := channels_note(request.handle, request.picture, request.places):
        words.append(note)
    if (level := request.handle.level) is not None:
        count = request.handle.whole.levels
        before = "" if level == 1 else f"levels 1 to {level} of {count}; the tokens are those of "
        words.append(f"Decoded from {before}level {level}{f' of {count}' if level == 1 else ''}.")
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

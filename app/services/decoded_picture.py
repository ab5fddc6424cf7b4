"""A picture decoded from its tokens, and its figures.

Each part of a ``Reconstruction`` is computed when it is first used and kept, so that Reconstruct
and Compare share what they have in common, and neither computes what only the other shows.
"""

from __future__ import annotations

import io
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from regvq.channels import project

from .cache import RecentItems
from .channels import image_of, shown_pixels
from .encoding import png
from .reconstruction_request import ReconstructionRequest
from .token_pictures import ERROR_TOP
from .tokenization import all_levels, decode_image, tokenize
from .uploads import original_png
from .validation import finite

if TYPE_CHECKING:
    from torch import Tensor

SSIM_WINDOW = 11
"""Side of SSIM's window in pixels; a smaller picture has no SSIM."""


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

"""The request of a reconstruction: tokenizer, picture, and how its tokens are chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from regvq.channels import Projection

from .channels import kept_shown, parse_shown, picture_for
from .checkpoints import TokenizerHandle, open_tokenizer
from .tokenization import tokenize
from .uploads import Picture
from .validation import MAX_SEED, number, whole_number

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

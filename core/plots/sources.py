"""The codes of a tokenizer for a chart: from its bundle, or counted now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundles.bundle import Bundle
    from ..tokenizer import Tokenizer


@dataclass(frozen=True)
class Codes:
    """The known facts about a tokenizer's codes."""

    name: str
    counts: np.ndarray
    """int64 (K,)"""
    counted_on: str
    atlas: dict[str, np.ndarray]
    """The arrays of the bundle's ``atlas.npz``; empty without one."""
    bundle: Bundle | None
    tokenizer: Tokenizer | None

    def codebook(self) -> np.ndarray:
        """Return the codes' vectors, float32 (K, D)."""
        tokenizer = self.tokenizer
        if tokenizer is None:
            from ..checkpoints import load_tokenizer

            assert self.bundle is not None
            tokenizer = load_tokenizer(self.bundle)
        return tokenizer.quantizer.codebook().detach().float().cpu().numpy()


def codes_of(
    source: Bundle | Tokenizer | str | Path, pictures: Iterable[Tensor] | None = None
) -> Codes:
    """Return the codes of a bundle, of a bundle's or a run's folder, or of a tokenizer.

    pictures: images (3, H, W) in [-1, 1] to count codes on. Without them, a bundle's own count is
    used; a tokenizer without one is counted on 48 drawn scenes of 192 x 192 pixels. Raises
    CheckpointError for a folder without a bundle.
    """
    from ..bundles.bundle import Bundle, find_bundle
    from ..tokenizer import Tokenizer

    if isinstance(source, Tokenizer):
        return _counted("tokenizer", source, pictures, {}, None)
    bundle = source if isinstance(source, Bundle) else find_bundle(source)
    known = bundle.atlas
    if pictures is None and "counts" in known:
        counts = np.asarray(known["counts"], dtype=np.int64)
        return Codes(bundle.name, counts, str(known.get("source", "")), known, bundle, None)
    from ..checkpoints import load_tokenizer

    return _counted(bundle.name, load_tokenizer(bundle), pictures, known, bundle)


def _counted(
    name: str,
    tokenizer: Tokenizer,
    pictures: Iterable[Tensor] | None,
    known: dict[str, np.ndarray],
    bundle: Bundle | None,
) -> Codes:
    from ..analysis.counts import count_codes
    from ..data import open_dataset

    words = "the given pictures"
    if pictures is None:
        scenes = open_dataset("scenes", size=192, seed=0, split="test")
        pictures, words = (scenes[index].image for index in range(48)), "48 drawn scenes"
    return Codes(name, count_codes(tokenizer, pictures), words, known, bundle, tokenizer)

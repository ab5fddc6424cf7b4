"""The share of text that can be read in reconstructions: lines are drawn, coded, and read by OCR.

After TokBench (arXiv:2505.18142), which reads words of real pictures: the accuracy of text is the
share of words that are read exactly (there T-ACC), and that of characters is 1 minus the normalized
edit distance (there T-NED). Here the text is drawn, so that what should be read is known exactly,
at several heights; words, colors and heights are our choice. The figures of the originals say what
the reader itself misses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import FeatureError
from ..images import to_tensor
from .comparison import as_shown

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

Reader = Callable[[np.ndarray], str]
"""A function that returns the text of a picture of one line, uint8 (H, W, 3), RGB."""

HEIGHTS = (12, 16, 24, 32)
"""Heights of the letters in pixels (the font's size)."""

LINES = 25
"""Lines of each height."""

_WORDS = (
    "about", "april", "bakery", "bridge", "candle", "center", "coffee", "corner", "desert",
    "dinner", "eleven", "engine", "family", "forest", "garden", "ginger", "harbor", "island",
    "jacket", "journey", "kitchen", "ladder", "lemon", "market", "mirror", "museum", "number",
    "orange", "parking", "planet", "quiet", "railway", "river", "silver", "station", "summer",
    "theater", "ticket", "umbrella", "valley", "village", "water", "window", "winter", "yellow",
)  # fmt: skip


def load_reader() -> Reader:
    """Return a reader of lines: the recognition of rapidocr, whose models come with the package.

    Raises FeatureError if rapidocr or onnxruntime is not installed.
    """
    try:
        import onnxruntime  # noqa: F401 - which rapidocr imports only when it reads
        from rapidocr import RapidOCR
    except ImportError:
        raise FeatureError(
            "Reading text needs the packages rapidocr and onnxruntime: "
            "pip install rapidocr onnxruntime."
        ) from None
    engine = RapidOCR(params={"Global.log_level": "error"})

    def read(picture: np.ndarray) -> str:
        # The models were trained on BGR pictures, as OpenCV reads them.
        found = engine(picture[..., ::-1].copy(), use_det=False, use_cls=False, use_rec=True)
        return " ".join(getattr(found, "txts", None) or ())

    return read


def drawn_lines(height: int, count: int, seed: int = 0) -> list[tuple[str, Image.Image]]:
    """Return lines of text with their pictures, RGB: three words, the last may be a number.

    Colors differ: half of the lines are dark on light, half light on dark, none below a contrast of
    90 of 255. The same ``seed`` and ``height`` give the same lines.
    """
    draws = random.Random(f"{seed} {height}")
    font = ImageFont.load_default(height)
    found = []
    for index in range(count):
        last = str(draws.randrange(10, 10_000)) if draws.random() < 0.5 else draws.choice(_WORDS)
        text = f"{draws.choice(_WORDS)} {draws.choice(_WORDS)} {last}"
        dark = tuple(draws.randrange(0, 80) for _ in range(3))
        light = tuple(draws.randrange(170, 256) for _ in range(3))
        paper, ink = (light, dark) if index % 2 == 0 else (dark, light)
        left, top, right, bottom = font.getbbox(text)
        margin = height // 2
        size = (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin)
        picture = Image.new("RGB", size, paper)
        ImageDraw.Draw(picture).text((margin - left, margin - top), text, ink, font)
        found.append((text, picture))
    return found


def read_text(
    tokenizer: Tokenizer,
    reader: Reader,
    *,
    heights: Sequence[int] = HEIGHTS,
    lines: int = LINES,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Measure how much of drawn text ``reader`` reads in reconstructions and in the originals.

    Returns ``lines``, ``seed`` and ``rows``: for each of ``heights`` (pixels) its ``height``,
    ``characters`` and ``words`` of the reconstructions, and ``original_characters`` and
    ``original_words``. ``characters`` is the mean over lines of 1 minus the edit distance divided
    by the longer text's length; ``words`` is the share of words that are read exactly; both ignore
    case, and all are in [0, 1]. Raises ValueError for heights below 8 or for no lines.
    """
    if lines < 1 or not heights or min(heights) < 8:
        raise ValueError(
            f"a line or more and heights of 8 pixels or more are needed, got {lines} lines of "
            f"heights {list(heights)}"
        )
    rows = []
    for height in heights:
        scores: dict[str, list[float]] = {}
        for text, picture in drawn_lines(height, lines, seed):
            images = to_tensor(picture)[None].to(device)
            size = images.shape[-2:]
            coded = as_shown(tokenizer.decode(tokenizer.encode(images))[..., : size[0], : size[1]])
            for before, version in (("original_", images), ("", coded)):
                found = reader(_pixels(version))
                scores.setdefault(f"{before}characters", []).append(similarity(text, found))
                scores.setdefault(f"{before}words", []).append(words_read(text, found))
        rows.append({"height": height} | {key: fmean(values) for key, values in scores.items()})
    return {"lines": lines, "seed": seed, "rows": rows}


def similarity(expected: str, found: str) -> float:
    """Return 1 minus the edit distance divided by the longer length, in [0, 1]; case is ignored."""
    a, b = expected.lower(), found.lower()
    longer = max(len(a), len(b))
    return 1 - edit_distance(a, b) / longer if longer else 1.0


def words_read(expected: str, found: str) -> float:
    """Return the share of the words of ``expected`` that stand in ``found``; case is ignored.

    A word that is expected twice must be found twice.
    """
    remaining = found.lower().split()
    words = expected.lower().split()
    read = 0
    for word in words:
        if word in remaining:
            remaining.remove(word)
            read += 1
    return read / len(words) if words else 1.0


def edit_distance(a: str, b: str) -> int:
    """Return the least number of insertions, deletions and substitutions from ``a`` to ``b``."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def _pixels(images: Tensor) -> np.ndarray:
    """Return the first of some images (B, 3, H, W) in [-1, 1] as uint8 (H, W, 3)."""
    picture = images[0].float().add(1).mul(127.5).round().clamp(0, 255)
    return picture.byte().permute(1, 2, 0).cpu().numpy()

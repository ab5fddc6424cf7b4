"""The model card of a tokenizer that was imported from a published checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .common import render

if TYPE_CHECKING:
    from ..tokenizer import TokenizerConfig

TAGS = ("vector-quantization", "image-tokenizer", "codebook")
RANGES = {"signed": "[-1, 1]", "unit": "[0, 1]"}


def imported_card(
    name: str, config: TokenizerConfig, origin: Mapping[str, Any], figures: Sequence[str]
) -> str:
    """Return the card. ``origin`` is what ``core.importing`` knows of the checkpoint: ``family``,
    ``title``, ``source``, ``file``, ``sha256``, ``license``, ``value_range``, ``converter`` and
    ``notes``; ``figures`` are lines of Markdown."""
    f, size = config.network.downsampling, config.quantizer.size
    license = origin["license"]
    summary = (
        f"An image tokenizer that others trained and published, converted for RegVQ Studio: "
        f"{size:,} codes of {config.network.latent_dim} dimensions, one code per {f}x{f} pixels, "
        "for pictures of any size. Weights and ids are those of the original."
    )
    facts = {
        "Family": origin["title"],
        "Source": f"{origin['source']}, file `{origin['file']}`",
        "SHA-256 of the file": f"`{origin['sha256']}`",
        "License": license or "not stated with the file; look for it at the source",
        "Value range of its pixels": f"{origin['value_range']} ({RANGES[origin['value_range']]} "
        "inside; images are in [-1, 1] outside)",
        "Network": config.network.summary,
        "Converted by": f"RegVQ Studio, converter version {origin['converter']}",
        "Notes": "; ".join(origin["notes"]) or None,
    }
    example = [
        "from regvq import Tokenizer",
        "from regvq.images import open_picture, to_tensor",
        "",
        f'tokenizer = Tokenizer.from_pretrained("{name}")',
        'images = to_tensor(open_picture("picture.jpg"))[None]  # (1, 3, H, W) in [-1, 1]',
        "ids = tokenizer.encode(images)  # int64 (1, h, w)",
        "images = tokenizer.decode(ids)",
    ]
    return render(
        name, summary, facts, example, list(figures), license=license or "other", tags=TAGS
    )

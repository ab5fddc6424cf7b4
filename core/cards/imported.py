"""The model card of a tokenizer that was imported from a published checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..tokenizer import TokenizerConfig

RANGES = {"signed": "[-1, 1]", "unit": "[0, 1]"}


def imported_card(
    name: str, config: TokenizerConfig, origin: Mapping[str, Any], figures: Sequence[str] = ()
) -> str:
    """Return the card, Markdown with Hugging Face front matter; ``figures`` are its last lines.

    origin: what ``core.importing`` knows of the checkpoint: ``family``, ``title``, ``source``,
    ``file``, ``sha256``, ``license``, ``value_range``, ``converter`` and ``notes``.
    """
    f, size = config.network.downsampling, config.quantizer.size
    license = origin["license"]
    lines = [
        "---",
        f"license: {license or 'other'}",
        "library_name: regvq-studio",
        "tags: [vector-quantization, image-tokenizer, codebook]",
        "---",
        "",
        f"# {name}",
        "",
        f"An image tokenizer that others trained and published, converted for RegVQ Studio: "
        f"{size:,} {config.network.latent_dim}-dimensional codes, one per {f}x{f} pixels, any "
        "picture size. Weights and ids are those of the original.",
        "",
        f"- **Family:** {origin['title']}",
        f"- **Source:** {origin['source']}, file `{origin['file']}`",
        f"- **SHA-256 of the file:** `{origin['sha256']}`",
        f"- **License:** {license or 'not stated with the file; look for it at the source'}",
        f"- **Value range of its pixels:** {origin['value_range']} "
        f"({RANGES[origin['value_range']]} inside; images are in [-1, 1] outside)",
        f"- **Network:** {config.network.summary}",
        f"- **Converted by:** RegVQ Studio, converter version {origin['converter']}",
        *(f"- **Note:** {note}" for note in origin["notes"]),
        "",
        "```python",
        "from regvq import Tokenizer",
        "",
        f'tokenizer = Tokenizer.from_pretrained("{name}")',
        "ids = tokenizer.encode(images)    # (B, 3, H, W) in [-1, 1] -> int64 (B, h, w)",
        "images = tokenizer.decode(ids)",
        "```",
        "",
        *(figures or ("## Figures", "", "Not evaluated yet: run `python train/evaluate.py`.")),
    ]
    return "\n".join(lines) + "\n"

"""An imported tokenizer as a bundle on disk, with a card that says where it comes from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..bundles.bundle import Bundle
from ..cards.tokenizer import model_card
from ..errors import CheckpointError
from ..metrics.value_range import Range
from ..tokenizer import Tokenizer
from .conversion import convert

CONVERTER = 1
"""The version of the conversion: raised when the same file would become another bundle."""


def import_tokenizer(
    source: Path,
    out: Path,
    *,
    config: Path | None = None,
    value_range: Range | None = None,
    quantizer: str | None = None,
    ema: bool | None = None,
    called: str | None = None,
) -> tuple[Bundle, dict[str, Any]]:
    """Convert the checkpoint ``source`` and write its bundle to ``out``; return the bundle, and
    what its card says of the origin.

    The other arguments are those of ``convert``; ``called`` is the source's public name, for
    example a repository of the Hub, where it is not the file's own. A bundle that is at ``out``
    already is replaced. Raises CheckpointError; nothing is left of a bundle that is not whole.
    """
    if (source / "config.json").is_file() or source.name == "model.safetensors":
        folder = source if source.is_dir() else source.parent
        if _is_bundle(folder):
            raise CheckpointError(f"{folder} is a bundle already; there is nothing to import.")
    if out.is_dir() and any(out.iterdir()) and not _is_bundle(out):
        raise CheckpointError(f"{out} is not empty and no bundle; name a new folder.")
    found = convert(source, config, value_range, quantizer, ema)
    origin = {
        "family": found.family.name,
        "title": found.family.title,
        "source": called or source.resolve().name,
        "file": found.file.name,
        "sha256": found.sha256,
        "license": found.license,
        "value_range": found.tokenizer.config.value_range,
        "converter": CONVERTER,
        "notes": list(found.notes),
    }
    recipe = {"imported": origin}
    try:
        bundle = found.tokenizer.save_pretrained(
            out,
            card=model_card(out.name, found.tokenizer.config, recipe, {}),
            recipe=recipe,
            half=found.half,
        )
    except Exception as error:  # safetensors has an exception of its own for a full disk
        shutil.rmtree(out.with_name(out.name + ".new"), ignore_errors=True)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{out} cannot be written ({reason}).") from None
    # Read again from disk: what is there is what will be used.
    if Tokenizer.from_pretrained(bundle).fingerprint != found.tokenizer.fingerprint:
        shutil.rmtree(out, ignore_errors=True)
        raise CheckpointError(f"{out} was written, but reads back as another tokenizer.")
    return bundle, origin


def _is_bundle(folder: Path) -> bool:
    try:
        return Bundle(folder.name, folder).config.get("kind") == "tokenizer"
    except CheckpointError:
        return False

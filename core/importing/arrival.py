"""Checkpoints of ``REGVQ_CHECKPOINTS`` in diffusers' layout: imported into the cache, once.

``core.bundles.sources`` finds and fetches them, and calls this for each folder that it cannot list
as bundles. What is imported is named by the file it was made from, so that an unchanged one is not
imported again.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ..bundles.sources import vqmodel_folders
from ..errors import CheckpointError
from ..paths import cache_folder
from .bundle import CONVERTER, import_tokenizer
from .conversion import locate


def import_on_arrival(folder: Path, name: str) -> Path:
    """Import the VQModels of a folder; return a folder that is a bundle, or holds a bundle each.

    ``name`` is the entry of the variable, which the cards state as the source. Pickled weights are
    left out: only safetensors files are imported without being asked for. Raises CheckpointError.
    """
    try:
        return _imported(folder, name)
    except (OSError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{Path(name).name} cannot be imported ({reason}).") from None


def _imported(folder: Path, name: str) -> Path:
    found = vqmodel_folders(folder)
    marks = {model: _mark(model) for model in found}
    digest = hashlib.sha256("".join(sorted(marks.values())).encode()).hexdigest()[:12]
    readable = re.sub(r"[^\w.-]+", "-", Path(name).name if Path(name).is_dir() else name)[:60]
    home = cache_folder() / "imported" / f"{readable}-{digest}"
    for model in found:
        out = home if model == folder else home / model.name
        if not (out / "config.json").is_file():
            import_tokenizer(model, out, called=name)
    return home


def _mark(model: Path) -> str:
    """Return what tells a model's files from others, without reading them."""
    weights, config = locate(model)
    if weights.suffix != ".safetensors":
        raise CheckpointError(
            f"{model.name} has no safetensors weights; import its {weights.name} by "
            "python train/import_tokenizer.py."
        )
    parts = [str(CONVERTER)]
    for file in (weights, config):
        if file is not None:
            found = file.resolve()  # in the Hub's cache, a name that is a hash of the content
            status = found.stat()
            parts.append(f"{found} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(parts)

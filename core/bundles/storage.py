"""Files of models, arrays and JSON.

A broken file raises an error of one sentence. Files and folders are written under a temporary name
and then renamed, so that a reader never sees an incomplete one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from ..errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

Module = TypeVar("Module", bound="nn.Module")


def state_for_disk(module: nn.Module, half: bool, keep: str | None = None) -> dict[str, Tensor]:
    """Return a module's weights on the CPU, contiguous; with ``half``, in float16.

    Weights whose names start with ``keep`` keep their type.
    """
    state = {}
    for name, tensor in module.state_dict().items():
        kept = keep is not None and name.startswith(keep)
        tensor = tensor.detach().cpu()
        if half and tensor.is_floating_point() and not kept:
            tensor = tensor.half()
        state[name] = tensor.contiguous()
    return state


def load_weights(module: Module, file: Path) -> Module:
    """Load a safetensors file into a module and return it in eval mode, without gradients.

    Raises CheckpointError if the file is missing, broken, or does not fit the module.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing; the bundle is incomplete.") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); fetch it again.") from None
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{file} does not fit its config.json: {reason}") from None
    return module.requires_grad_(False).eval()


def write_folder(
    path: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    card: str,
    metrics: Mapping[str, Any] | None,
    atlas: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the files of a bundle to the folder ``path``, replacing one that exists."""
    from safetensors.torch import save_file

    fresh = path.with_name(path.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(dict(state), fresh / "model.safetensors")
    write_json(fresh / "config.json", config)
    (fresh / "README.md").write_text(card, encoding="utf-8")
    write_json(fresh / "metrics.json", dict(metrics or {}))
    if atlas:
        arrays: dict[str, Any] = dict(atlas)
        np.savez_compressed(fresh / "atlas.npz", **arrays)
    replace_folder(fresh, path)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name.

    Raises OSError if the file cannot be opened, and ValueError if it is not a complete .npz file.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (EOFError, BadZipFile, zlib.error) as error:  # numpy raises these for broken files
        raise ValueError(str(error)) from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises CheckpointError if the file does not hold one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object.")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON to a temporary file and rename it to ``path``.

    Infinity (the PSNR of an exact copy) and NaN are written as null: JSON has neither.
    """
    fresh = path.with_name(path.name + ".new")
    text = json.dumps(_null_if_not_finite(value), indent=2, allow_nan=False)
    fresh.write_text(text + "\n", encoding="utf-8")
    os.replace(fresh, path)


def _null_if_not_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _null_if_not_finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_if_not_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def replace_folder(fresh: Path, path: Path) -> None:
    """Rename the folder ``fresh`` to ``path``, replacing a folder that exists.

    No portable call replaces a folder in one step, so the old folder is first renamed to
    ``path.old``. A process that is killed between the two renames leaves it there; if the second
    rename fails, the old folder is renamed back. Raises OSError if a folder cannot be renamed; on
    Windows an open file inside is a reason.
    """
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    replaces = path.exists()
    if replaces:
        os.replace(path, old)
    try:
        os.replace(fresh, path)
    except OSError:
        if replaces:
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)

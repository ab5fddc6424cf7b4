"""Models and JSON on disk: read with a sentence for what is wrong, written beside and renamed."""

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
    """Return a module's weights on the CPU, contiguous, and in float16 if ``half``.

    Names that start with ``keep`` keep their type.
    """
    state = {}
    for name, tensor in module.state_dict().items():
        shrink = half and tensor.is_floating_point()
        shrink = shrink and not (keep is not None and name.startswith(keep))
        tensor = tensor.detach().cpu()
        state[name] = (tensor.half() if shrink else tensor).contiguous()
    return state


def load_weights(module: Module, file: Path) -> Module:
    """Load a safetensors file into a module and return it in eval mode, without gradients.

    Raises CheckpointError if the file is missing, broken, or does not fit.
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
    """Write a bundle's files beside ``path`` and put the folder in its place."""
    from safetensors.torch import save_file

    fresh = path.with_name(path.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(dict(state), fresh / "model.safetensors")
    write_json(fresh / "config.json", config)
    (fresh / "README.md").write_text(card, encoding="utf-8")
    write_json(fresh / "metrics.json", dict(metrics or {}))
    if atlas:
        np.savez_compressed(fresh / "atlas.npz", **atlas)
    replace_folder(fresh, path)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, by name. Raises OSError, or ValueError for what is none or not whole:
    numpy has four exceptions for that, and two of them are no ValueError."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ``CheckpointError`` if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside ``path`` and rename, so that ``path`` is never half written.

    JSON has no infinity (the PSNR of an exact copy) and no NaN: they become null.
    """
    beside = path.with_name(path.name + ".new")
    text = json.dumps(_finite(value), indent=2, allow_nan=False)
    beside.write_text(text + "\n", encoding="utf-8")
    os.replace(beside, path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def replace_folder(fresh: Path, path: Path) -> None:
    """Put the folder ``fresh`` in the place of ``path``, which may be there already.

    Stopped between the two renames, what was there is still beside it, as ``path.old``.
    """
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(fresh, path)
    shutil.rmtree(old, ignore_errors=True)

"""Files of models, arrays and JSON.

A broken file raises an error of one sentence. Files and folders are written under a temporary name
and then put in place (``core.bundles.replacement``), so that a reader never sees an incomplete one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from ..errors import CheckpointError
from .checksums import digest_of, mark_of, seal_holds, sealed
from .replacement import is_leftover, named, replacing, take_over, write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger("regvq.bundles")

Module = TypeVar("Module", bound="nn.Module")

WEIGHTS, CONFIG, CARD, METRICS, ATLAS = (
    "model.safetensors", "config.json", "README.md", "metrics.json", "atlas.npz",
)  # fmt: skip
"""The files of a bundle."""
CHECKSUMS = "checksums"
"""The entry of config.json with the SHA-256 of weights and atlas. Card and metrics have none: they
may be edited."""


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


def load_weights(module: Module, file: Path, sha256: str | None = None) -> Module:
    """Load a safetensors file into a module and return it in eval mode, without gradients.

    ``sha256``: that of the file, if it is known. Raises CheckpointError if the file is missing,
    damaged, or does not fit the module.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        mark = mark_of(file)
        check_file(file, sha256)
        weights = load_file(file)
        if mark_of(file) != mark:
            raise CheckpointError(f"{file} was replaced while it was read; load it again.")
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


def check_file(file: Path, sha256: str | None) -> None:
    """Raise CheckpointError if a file is not the one with this SHA-256; None: it is not known."""
    if sha256 is not None and digest_of(file) != sha256:
        raise CheckpointError(
            f"{file} cannot be read: it is damaged or of another checkpoint (its SHA-256 is not "
            f"the one in {CONFIG}); fetch it again, or export the bundle again."
        )


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write a safetensors file with the usual permissions. Raises OSError, which names the file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with named(file):
        file.touch()  # has the permissions of the umask; safetensors gives its files 0600
        usual = file.stat().st_mode
        try:
            save_file(dict(tensors), file)
        except SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            if code is None:
                raise OSError(f"{file} cannot be written: {error}") from None
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(file)) from None
        os.chmod(file, usual & 0o777)


def save_arrays(arrays: Mapping[str, np.ndarray], file: Path) -> None:
    """Write a compressed .npz file. Raises OSError, which names the file."""
    values: dict[str, Any] = dict(arrays)
    with named(file):
        np.savez_compressed(file, **values)


def write_folder(
    path: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    card: str,
    metrics: Mapping[str, Any] | None,
    atlas: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the files of a bundle to the folder ``path``, replacing those of a bundle in it.

    Files that a bundle does not have, such as a LICENSE, are kept. Raises CheckpointError if the
    folder holds something else than a bundle.
    """
    check_replaceable(path)

    def write(fresh: Path) -> None:
        save_tensors(state, fresh / WEIGHTS)
        (fresh / CARD).write_text(card, encoding="utf-8")
        write_json(fresh / METRICS, dict(metrics or {}))
        if atlas:
            save_arrays(atlas, fresh / ATLAS)
        _write_config(fresh, config)

    _replace_files(path, write, (WEIGHTS, CONFIG, CARD, METRICS, ATLAS))


def rewrite_files(path: Path, files: Mapping[str, Callable[[Path], None]]) -> None:
    """Write some files of a bundle anew, all in one step, and state their SHA-256.

    ``files``: a function for each file's name, which writes the file.
    """
    config = read_json(path / CONFIG)

    def write(fresh: Path) -> None:
        for name, write_file in files.items():
            write_file(fresh / name)
        _write_config(fresh, config)

    _replace_files(path, write, (*files, CONFIG))


def check_replaceable(path: Path) -> None:
    """Raise CheckpointError if ``path`` holds something else than a bundle."""
    if path.is_file():
        raise CheckpointError(f"{path} is a file; name a folder for the bundle.")
    if not path.is_dir() or not any(path.iterdir()) or _is_bundle(path):
        return
    raise CheckpointError(
        f"{path} holds other files, and no bundle that could be replaced; name a new folder."
    )


def _is_bundle(path: Path) -> bool:
    try:
        return "kind" in read_json(path / CONFIG)
    except CheckpointError:  # perhaps a damaged one, which is replaced
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    present = (name for name in (WEIGHTS, ATLAS) if (folder / name).exists())
    checksums = {name: digest_of(folder / name) for name in present}
    write_sealed(folder / CONFIG, {**config, CHECKSUMS: checksums})


def _replace_files(path: Path, write: Callable[[Path], None], names: tuple[str, ...]) -> None:
    with replacing(path) as fresh:
        others = sorted(path.iterdir()) if path.is_dir() else []
        for entry in others:
            if entry.name not in names and not is_leftover(entry.name):
                take_over(entry, fresh / entry.name)
        write(fresh)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name.

    Raises OSError if the file cannot be opened, and ValueError if it is not a complete .npz file.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except OSError:
        raise
    except _BROKEN_ARRAYS as error:
        raise ValueError(str(error) or type(error).__name__) from None


_BROKEN_ARRAYS = (
    *(EOFError, BadZipFile, zlib.error, struct.error, KeyError, AttributeError, ValueError),
    *(NotImplementedError, RuntimeError, OverflowError, MemoryError, SyntaxError, TypeError),
)
"""Errors of numpy, zipfile and zlib for files that are damaged."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises CheckpointError if the file does not hold one, or
    if it is not what it was when it was sealed (``core.bundles.checksums``)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        intact = seal_holds(value) if isinstance(value, dict) else None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise CheckpointError(f"{path} cannot be read: {reason}.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object.")
    if intact is False or (intact is None and CHECKSUMS in value):
        raise CheckpointError(
            f"{path} cannot be read: it is damaged or was edited (its content does not match its "
            "own SHA-256); restore it."
        )
    return value


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON to a temporary file and rename it to ``path``.

    Infinity (the PSNR of an exact copy) and NaN are written as null: JSON has neither.
    """
    text = json.dumps(_null_if_not_finite(value), indent=2, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object as ``write_json``, with its own SHA-256."""
    # As it will be read: with lists for tuples, and null for what is not finite.
    write_json(path, sealed(json.loads(json.dumps(_null_if_not_finite(value)))))


def _null_if_not_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _null_if_not_finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_if_not_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

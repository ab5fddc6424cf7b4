"""The tensors of a weights file: safetensors, and torch's two pickled formats, read by
``pickles.read_pickle``.

Each number in the file is compared with the file's own size before memory is allocated by it: a
storage must lie in the archive, uncompressed (as torch writes it), and a tensor in its storage.
"""

from __future__ import annotations

import io
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError
from .pickles import BrokenPickle, StorageRef, TensorRef, read_pickle

MAX_ENTRIES = 100_000
MAX_AXES = 8
MAX_NAME = 512

_MAGIC = 0x1950A86A20F9469CFC6C  # torch's own, of the format before version 1.6
_KINDS = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
}  # fmt: skip
_TYPES = {str(kind).removeprefix("torch."): kind for kind in _KINDS.values()}
_REMEDY = "fetch it again"


class WeightsFile(ABC):
    """The tensors of a file by name, each read when it is asked for."""

    file: Path
    tree: Any
    """The file's content: a dictionary of tensors, or of dictionaries and other things."""

    @abstractmethod
    def tensor(self, name: str, leaf: Any) -> Tensor:
        """Return the tensor that stands at ``leaf`` in the tree; ``name`` is for the message."""

    def is_tensor(self, leaf: Any) -> bool:
        """Return True if a leaf of the tree is a tensor."""
        return isinstance(leaf, TensorRef)

    def shape(self, leaf: Any) -> tuple[int, ...]:
        """Return the shape that the file states for a tensor."""
        return leaf.shape


def open_weights(file: Path) -> WeightsFile:
    """Return the content of a weights file. Raises CheckpointError for one that is none, damaged,
    or beyond the limits."""
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
            if file.suffix == ".safetensors":
                return Safetensors(file)
            if head[:4] == b"PK\x03\x04":
                return _Pickled(file, *_read_zip(file))
            if head[:1] == b"\x80":
                return _Pickled(file, *_read_legacy(file, stream))
            if len(head) == 16 and head[8:9] == b"{":
                return Safetensors(file)
    except BrokenPickle as error:
        raise CheckpointError(f"{file} cannot be read: {error}; {_REMEDY}.") from None
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{file} cannot be read ({reason}); {_REMEDY}.") from None
    raise CheckpointError(
        f"{file} is neither a safetensors file nor one that torch.save wrote (its format before "
        "2017 is not read); name the file of the weights."
    )


class Safetensors(WeightsFile):
    """A safetensors file; its own library checks it."""

    def __init__(self, file: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.file = file
        try:
            self._open = safe_open(str(file), framework="pt")
            self.tree = {name: name for name in self._open.keys()}  # noqa: SIM118
            self._shapes = {
                name: tuple(self._open.get_slice(name).get_shape()) for name in self.tree
            }
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} cannot be read ({error}); {_REMEDY}.") from None

    def is_tensor(self, leaf: Any) -> bool:
        return isinstance(leaf, str)

    def shape(self, leaf: Any) -> tuple[int, ...]:
        return self._shapes[leaf]

    def tensor(self, name: str, leaf: Any) -> Tensor:
        from safetensors import SafetensorError

        try:
            return self._open.get_tensor(leaf)
        except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]  # for example a type that torch lacks
            raise CheckpointError(f"{self.file}: {name[:80]} cannot be read ({reason}).") from None


class _Pickled(WeightsFile):
    def __init__(self, file: Path, tree: Any, storage: Callable[[StorageRef], bytearray]) -> None:
        self.file, self.tree, self._bytes = file, tree, storage
        self._storages: dict[str, Tensor] = {}
        self._left = file.stat().st_size

    def tensor(self, name: str, leaf: TensorRef) -> Tensor:
        shown, storage = name[:80], leaf.storage
        kind = _kind_of(leaf)
        if kind is None:
            raise CheckpointError(f"{self.file}: {shown} is a {storage.kind[:40]}, not a tensor.")
        size = torch.empty(0, dtype=kind).element_size()
        count = storage.count // size if storage.kind == "UntypedStorage" else storage.count
        axes = list(zip(leaf.shape, leaf.strides, strict=False))
        whole = len(leaf.shape) == len(leaf.strides) <= MAX_AXES
        whole &= leaf.offset >= 0 and all(side >= 0 and step >= 0 for side, step in axes)
        last = leaf.offset + sum((side - 1) * step for side, step in axes)
        if not whole or not 0 < prod(leaf.shape) <= count or last >= count:
            raise CheckpointError(
                f"{self.file}: {shown} of shape {leaf.shape[:MAX_AXES]} and strides "
                f"{leaf.strides[:MAX_AXES]} does not lie in its {count:,} numbers; {_REMEDY}."
            )
        self._left -= prod(leaf.shape) * size
        if self._left < 0:
            raise CheckpointError(
                f"{self.file} describes more tensors than it has bytes: they share their numbers."
            )
        if storage.key not in self._storages:
            self._storages[storage.key] = self._read(shown, storage, count * size)
        flat = self._storages[storage.key].view(kind)
        return flat.as_strided(leaf.shape, leaf.strides, leaf.offset)

    def _read(self, name: str, storage: StorageRef, wanted: int) -> Tensor:
        try:
            data = self._bytes(storage)
        except (OSError, zipfile.BadZipFile, KeyError, EOFError) as error:
            raise CheckpointError(
                f"{self.file}: the numbers of {name} cannot be read ({error}); {_REMEDY}."
            ) from None
        if len(data) != wanted:
            raise CheckpointError(
                f"{self.file}: {name} needs {wanted:,} bytes and has {len(data):,}; {_REMEDY}."
            )
        return torch.frombuffer(data, dtype=torch.uint8)


def _kind_of(leaf: TensorRef) -> torch.dtype | None:
    if leaf.storage.kind == "UntypedStorage":
        return _TYPES.get(leaf.kind or "")
    return _KINDS.get(leaf.storage.kind.removesuffix("Storage"))


def _read_zip(file: Path) -> tuple[Any, Callable[[StorageRef], bytearray]]:
    """Return the tree of the zip format (torch 1.6 and later), and how to read its storages."""
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise BrokenPickle(f"its archive has {len(entries):,} entries")
    if packed := [entry for entry in entries if entry.file_size != entry.compress_size]:
        raise BrokenPickle(
            f"its entry {packed[0].filename[:80]} is compressed, which torch never writes"
        )
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise BrokenPickle("its entries overlap")
    inside = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(inside) != 1:
        raise BrokenPickle("it is a zip archive, but none of torch's (no data.pkl)")
    top = inside[0].filename.removesuffix("data.pkl")
    names = set(archive.namelist())
    if f"{top}byteorder" in names and archive.read(f"{top}byteorder") != b"little":
        raise BrokenPickle("its numbers are big-endian, which is not read")
    tree = read_pickle(io.BytesIO(archive.read(inside[0])))
    return tree, lambda storage: bytearray(archive.read(f"{top}data/{storage.key[:MAX_NAME]}"))


def _read_legacy(file: Path, stream: BinaryIO) -> tuple[Any, Callable[[StorageRef], bytearray]]:
    """Return the tree of the format before torch 1.6: pickles, then the storages one by one."""
    stream.seek(0)
    if read_pickle(stream) != _MAGIC:
        raise BrokenPickle("it is a pickle, but none that torch.save wrote")
    read_pickle(stream)  # the format's version
    read_pickle(stream)  # the machine that wrote it; torch reads it on any as little-endian
    kinds: dict[str, StorageRef] = {}
    tree = read_pickle(stream, kinds)
    keys = read_pickle(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BrokenPickle("it has no list of storages")
    places: dict[str, tuple[int, int]] = {}
    end = file.stat().st_size
    for key in keys:
        storage = kinds.get(key)
        kind = None if storage is None else _KINDS.get(storage.kind.removesuffix("Storage"))
        if kind is None:
            raise BrokenPickle("it has a storage of an unknown type")
        (count,) = struct.unpack("<q", _exactly(stream, 8))
        start, size = stream.tell(), count * torch.empty(0, dtype=kind).element_size()
        if count < 0 or start + size > end:
            raise BrokenPickle("it is cut off")
        places[key] = (start, size)
        stream.seek(start + size)

    def read(storage: StorageRef) -> bytearray:
        start, size = places[storage.key]
        with file.open("rb") as again:
            again.seek(start)
            return bytearray(_exactly(again, size))

    return tree, read


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise BrokenPickle("it is cut off")
    return data

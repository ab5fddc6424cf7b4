"""The header of token shards: its content, its files and their checksums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..bundles.checksums import SEAL, seal_holds
from ..bundles.storage import CHECKSUMS
from ..errors import DataError
from .shard_sums import check_sums

FORMAT = 2
WITHOUT_SUMS = 1
"""The format of earlier versions."""
WITH_LEVELS = 3
"""The format of shards with several ids per position; all others remain of the format before."""
HEADER = "header.json"


def token_dtype(codebook_size: int) -> str:
    """Return the data type for the ids of a codebook."""
    return "uint16" if codebook_size <= 2**16 else "uint32"


def levels_of(header: dict[str, Any]) -> int:
    """Return L, the number of ids per position."""
    return header["tokenizer"].get("levels", 1)


def arrays_of(header: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name -> (type, shape of a row) of the binary files that each shard has."""
    grid, levels = tuple(header["grid"]), levels_of(header)
    tokens = grid if levels == 1 else (levels, *grid)
    arrays = {"tokens": (header["dtype"], tokens), "labels": ("int32", ())}
    return arrays | ({"segmentation": ("uint8", grid)} if header["segmentation"] else {})


def shard_file(root: Path, name: str, shard: int) -> Path:
    """Return the path of one of a shard's files."""
    suffix = "jsonl" if name == "captions" else "bin"
    return root / f"{name}-{shard:05d}.{suffix}"


def read_header(root: str | Path) -> dict[str, Any]:
    """Return the header of a folder of token shards.

    Raises DataError if there is none, or if it is damaged or of another kind.
    """
    root = Path(root)
    file = root / HEADER
    if not file.is_file():
        missing = "has no header.json" if root.is_dir() else "does not exist"
        raise DataError(f"{root} {missing}; give a folder that train/encode.py wrote.")
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
        known = header["kind"] == "tokens" and header["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file} is not a header of token shards; encode again.") from error
    if known not in (FORMAT, WITHOUT_SUMS, WITH_LEVELS) or isinstance(known, bool):
        raise DataError(
            f"{file} is of another kind or format; this version reads token shards {FORMAT} and "
            f"{WITH_LEVELS}."
        )
    damaged = f"{file} is damaged: its checksum is not that of its content; copy it again."
    if known != WITHOUT_SUMS and not seal_holds(header):
        raise DataError(damaged)
    if known == WITHOUT_SUMS and (SEAL in header or CHECKSUMS in header):
        raise DataError(damaged)
    problem = _problem(header)
    if problem is not None:
        raise DataError(f"{file} is not a header of token shards ({problem}); encode again.")
    return header


def _problem(header: dict[str, Any]) -> str | None:
    """Return the first thing that a header lacks or has of a wrong type, or None."""
    kinds: dict[str, type] = {
        "tokenizer": dict, "data": dict, "grid": list, "dtype": str, "rows": list, "views": int,
        "skipped": int, "complete": bool, "captions": bool, "segmentation": bool, "size": int,
    }  # fmt: skip
    kinds |= {CHECKSUMS: list, "found": dict} if header["format"] != WITHOUT_SUMS else {}
    for key, kind in kinds.items():
        if not isinstance(header.get(key), kind):
            return f"it has no {key!r}" if key not in header else f"{key!r} is of another type"
    within = {
        "tokenizer": ("name", "fingerprint", "codebook_size"),
        "data": ("name", "split", "items", "classes"),
    }
    for part, keys in within.items():
        absent = next((key for key in keys if key not in header[part]), None)
        if absent is not None:
            return f"{part!r} has no {absent!r}"
    numbers = [*header["grid"], *header["rows"], header["tokenizer"]["codebook_size"]]
    if len(header["grid"]) != 2 or any(type(n) is not int or n < 0 for n in numbers):
        return "a number is wrong"
    if header["dtype"] != token_dtype(header["tokenizer"]["codebook_size"]):
        return "'dtype' does not fit the codebook"
    levels = header["tokenizer"].get("levels", 1)
    if type(levels) is not int or (levels > 1) != (header["format"] == WITH_LEVELS):
        return "the number of levels is wrong"
    if header["format"] != WITHOUT_SUMS and len(header[CHECKSUMS]) != len(header["rows"]):
        return "'checksums' does not fit 'rows'"
    return None


def files_of(header: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the files that each shard has."""
    return (*arrays_of(header), *(("captions",) if header["captions"] else ()))


def check_files(root: Path, header: dict[str, Any]) -> None:
    """Raise DataError, which names the file, if a shard is missing or damaged."""
    for shard, rows in enumerate(header["rows"]):
        for name, (dtype, shape) in arrays_of(header).items():
            file = shard_file(root, name, shard)
            want = rows * int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            size = file.stat().st_size if file.is_file() else None
            if size != want:
                found = "is missing" if size is None else f"has {size:,} bytes, not {want:,}"
                raise DataError(
                    f"the shard {file} {found}: it was truncated or changed; copy it again, or "
                    "delete the folder and encode again."
                )
        captions = shard_file(root, "captions", shard)
        if header["captions"] and not captions.is_file():
            raise DataError(f"the shard {captions} is missing; copy it again.")
    if header["format"] == WITHOUT_SUMS:
        return
    wanted = {
        shard_file(root, name, shard).name: str(sums.get(name))
        for shard, sums in enumerate(header[CHECKSUMS])
        for name in files_of(header)
    }
    check_sums(root, wanted, header[SEAL], lambda name: _damage(root / name, header))


def _damage(file: Path, header: dict[str, Any]) -> str:
    """Return what can be seen of a damaged file's damage, or ""."""
    name, _, number = file.stem.rpartition("-")
    data = file.read_bytes()
    if name == "captions":
        lines, rows = data.count(b"\n"), header["rows"][int(number)]
        return f"it has {lines} lines, not {rows}" if lines != rows else ""
    if name == "tokens" and data:
        largest = int(np.frombuffer(data, np.dtype(header["dtype"]).newbyteorder("<")).max())
        codes = header["tokenizer"]["codebook_size"]
        return f"it holds the id {largest}, but there are {codes} codes" if largest >= codes else ""
    return ""

"""Files and folders that are replaced as a whole, so that a reader never sees an incomplete one.

A new version is written beside the old one as ``NAME.new``, synced to the disk, and exchanged with
it in one step where the system can (``renameat2`` on Linux, ``renamex_np`` on macOS). Elsewhere the
old version is renamed to ``NAME.old`` first. A process that is killed leaves a whole version under
one of the names in any case: ``present`` finds it, and ``repair`` puts it back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

NEW, OLD = ".new", ".old"
"""Suffixes of the versions beside a file or folder: the next one, and the last one."""
_LEFT = re.compile(r".*(\.new|\.old|\.new\.npz)")

_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}
"""Errors by which a system or file system refuses the exchange of two names."""
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
"""Errors of files that cannot be synced, such as those of some network file systems."""


def beside(path: Path, suffix: str) -> Path:
    """Return the path of the version of ``path`` with this suffix."""
    return path.with_name(path.name + suffix)


def is_leftover(name: str) -> bool:
    """Return True if ``name`` is that of an unfinished or a replaced version."""
    return _LEFT.fullmatch(name) is not None


def present(folder: Path) -> Path:
    """Return ``folder``, or its last version if the folder is missing because its replacement was
    interrupted."""
    if not folder.exists() and (old := beside(folder, OLD)).is_dir():
        return folder if folder.exists() else old  # it may have been put in place meanwhile
    return folder


def repair(folder: Path) -> None:
    """Finish an interrupted replacement: put the last version back if ``folder`` is missing, and
    remove what was left beside it. Only its writer may call this."""
    new, old = beside(folder, NEW), beside(folder, OLD)
    if not folder.exists() and old.exists():
        os.replace(old, folder)
        sync(folder.parent)
    for left in (new, old):
        remove(left)


def new_version(folder: Path) -> Path:
    """Return the empty folder ``NAME.new`` for the next version of ``folder``."""
    repair(folder)
    fresh = beside(folder, NEW)
    fresh.mkdir(parents=True)
    return fresh


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``folder`` at the end; after an error it is removed."""
    folder = Path(os.path.realpath(folder))  # a link stays, and what it points to is replaced
    fresh = new_version(folder)
    try:
        yield fresh
        replace_folder(fresh, folder)
    except BaseException:
        remove(fresh)
        raise


def replace_folder(fresh: Path, path: Path) -> None:
    """Put the folder ``fresh`` in the place of the folder ``path``, which may not exist yet.

    Everything is on the disk before the old version is removed. Raises OSError if a folder cannot
    be renamed; on Windows an open file inside is a reason.
    """
    sync_all(fresh)
    sync(fresh.parent)
    if not path.exists():
        os.replace(fresh, path)
        sync(path.parent)
        return
    if exchange(fresh, path):
        sync(path.parent)
        remove(fresh)
        return
    old = beside(path, OLD)
    remove(old)  # ``path`` is whole
    os.replace(path, old)
    try:
        os.replace(fresh, path)
    except OSError:
        os.replace(old, path)
        raise
    sync(path.parent)
    remove(old)


def exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step; return False if that is not possible here."""
    call = _exchange_call()
    if call is None:
        return False
    ctypes.set_errno(0)
    if call(os.fsencode(a), os.fsencode(b)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(b))


def _exchange_call() -> Callable[[bytes, bytes], int] | None:
    if sys.platform not in ("linux", "darwin"):
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            rename = libc.renameat2
            return lambda a, b: rename(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE)
        swap = libc.renamex_np
        return lambda a, b: swap(a, b, _RENAME_SWAP)
    except (OSError, AttributeError):  # an older C library
        return None


def write_bytes(file: Path, data: bytes) -> None:
    """Write a file beside ``file``, sync it and rename it to ``file``; nothing half stays."""
    fresh = beside(file, NEW)
    try:
        with named(file), fresh.open("wb", buffering=0) as stream:
            _write_all(stream, data)
            sync(stream.fileno())
        os.replace(fresh, file)
    except BaseException:
        remove(fresh)
        raise
    sync(file.parent)


def append_bytes(file: Path, data: bytes) -> None:
    """Add bytes to the end of a file, all of them or none. Raises OSError, which names the file."""
    with named(file), file.open("ab", buffering=0) as stream:
        start = os.fstat(stream.fileno()).st_size
        try:
            _write_all(stream, data)
        except OSError:
            os.ftruncate(stream.fileno(), start)
            raise


def _write_all(stream: IO[bytes], data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]


def sync(what: Path | int) -> None:
    """Write a file, a folder's entries or an open file to the disk, where the system can."""
    if isinstance(what, int):
        _sync(what)
        return
    if os.name == "nt" and what.is_dir():  # Windows has no handles of folders
        return
    handle = os.open(what, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        with named(what):
            _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_all(folder: Path) -> None:
    """Write a folder and everything in it to the disk."""
    for top, _, names in os.walk(folder):
        for name in names:
            if not os.path.islink(file := os.path.join(top, name)):
                sync(Path(file))
        sync(Path(top))


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its contents, if it exists and as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def take_over(source: Path, target: Path) -> None:
    """Give a file, link or folder also the name ``target``, by a hard link or as a copy."""
    if source.is_symlink():
        os.symlink(os.readlink(source), target)
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)
    else:
        _link_or_copy(str(source), str(target))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


@contextmanager
def named(file: Path) -> Iterator[None]:
    """Add the file's name to an OSError that has none, as those of numpy, Pillow and ``write``."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(file)) from None

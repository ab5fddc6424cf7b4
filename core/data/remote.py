"""Files of every place that fsspec speaks to: https, s3, gs, hf and others, read in parts.

fsspec provides the protocols, their connections and the lists of folders. Kept here is what it does
not do, as of version 2026.9:

- Networks fail now and then, so every request is tried several times; its http client tries once.
- An error that remains is one sentence with the address, without its query or password.
- On a web server, one request says whether it sends parts, and each part is checked: fsspec would
  take a whole file for a part of it, and would not notice a file that changed.
- Servers that send no parts are copied from, whole, into a folder of bounded size
  (``core.data.shards.cache``); fsspec's caches of files have no bound.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ATTEMPTS = 5
PAUSE_S = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""
_CHUNK = 1 << 20
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.IGNORECASE | re.DOTALL)
_QUERY = re.compile(r"(https?://[^?\s]*)\?.*?(?=::|$)", re.DOTALL)
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")
_PATTERN = re.compile(r"[*?\[]")
_AGAIN = (408, 425, 429)  # client errors that may be temporary
_DEFECTS = (TypeError, AttributeError, NameError, AssertionError)
"""Errors of a program, which no second attempt mends."""

T = TypeVar("T")


def url_of(text: object) -> str | None:
    """Return the address in `text` (a str, or a Path made of one), or None.

    A Path merges the two slashes into one; they are restored. Raises DataError for an address with
    a scheme that fsspec does not know, or that names a file of this machine.
    """
    found = _SCHEME.match(str(text))
    if found is None:
        return None
    from fsspec import available_protocols

    scheme, rest = found[1].lower(), found[2]
    if scheme in ("file", "local"):
        raise DataError(f"{text} is a file of this machine: give its path alone.")
    if scheme not in available_protocols():
        raise DataError(
            f"{redact_query(str(text))} has an unsupported scheme; give https://, s3://, gs://, "
            "hf:// or another one that fsspec knows."
        )
    return f"{scheme}://{rest}"


def redact_query(url: str) -> str:
    """Return the address without its query, and without a name and a password."""
    return _PASSWORD.sub("", url.partition("?")[0])


def without_keys(text: str) -> str:
    """Return a text, such as a word of a command line, whose addresses are without names and
    passwords, and those of web servers without their query."""
    return _QUERY.sub(r"\1", _PASSWORD.sub("", text))


def is_web(url: str) -> bool:
    """Return True for an address of a web server, which lists no files."""
    return url.startswith(("http://", "https://"))


def is_pattern(text: str) -> bool:
    """Return True for a path or an address with `*`, `?` or `[`, which may name several files."""
    return _PATTERN.search(text) is not None


@dataclass(frozen=True)
class Facts:
    """The properties of a file that its server reports."""

    size: int | None
    """Bytes, or None if the server does not say."""
    mark: str
    """An identifier that changes when the file does."""
    parts: bool
    """True if the server sends parts of the file."""


@lru_cache(maxsize=8192)
def facts_of(url: str) -> Facts:
    """Ask the server once.

    Raises DataError if the file is missing or refused, or without an answer.
    """

    def ask() -> Facts:
        system, path = _opened(url)
        if is_web(url):
            return _web_facts(system, url)
        return Facts(system.info(path)["size"], str(system.ukey(path)), parts=True)

    return _trying(url, ask)


def read_part(url: str, first: int, size: int) -> bytes:
    """Return `size` bytes from position `first` of a file whose server sends parts."""
    whole = facts_of(url).size
    if size == 0:
        return b""

    def ask() -> bytes:
        system, path = _opened(url)
        if is_web(url):
            data = _web_part(system, url, first, size, whole)
        else:
            data = system.cat_file(path, start=first, end=first + size)
            if len(data) != size:
                system.invalidate_cache()
                if system.info(path)["size"] != whole:
                    raise _changed(url)
        if len(data) != size:
            raise EOFError(f"{len(data)} of {size} bytes arrived")
        return data

    return _trying(url, ask)


def read_whole(url: str) -> bytes:
    """Return all bytes of a file."""

    def ask() -> bytes:
        system, path = _opened(url)
        return system.cat_file(path)

    return _trying(url, ask)


def download(url: str, file: Path) -> None:
    """Download the whole file. Raises DataError if it cannot be read or written."""
    size = facts_of(url).size

    def ask() -> None:
        got = 0
        system, path = _opened(url)
        known = {} if size is None else {"size": size}  # otherwise fsspec asks once more
        stream = system.open(path, "rb", block_size=0, **known)
        with stream as source, _written(url, file) as target:
            while data := source.read(_CHUNK):
                target.write(data)
                got += len(data)
        if size is not None and got != size:
            raise EOFError(f"{got} of {size} bytes arrived")

    _trying(url, ask)


def listed(folder: str) -> dict[str, int]:
    """Return the files below a folder, or that a pattern with `*` or `?` names: address and bytes.

    Not for web servers, which list nothing. Raises DataError.
    """

    def ask() -> dict[str, int]:
        system, path = _opened(folder)
        how = system.glob if is_pattern(path) else system.find
        found = how(path, detail=True)
        # Names are paths there, some without the host: they stand in place of the pattern.
        address, before = (_PATTERN.split(text)[0].rstrip("/") for text in (folder, path))
        return {
            address + name[len(before) :]: int(about.get("size") or 0)
            for name, about in sorted(found.items())
            if about.get("type") == "file"
        }

    return _trying(folder, ask)


class PartsFile(io.RawIOBase):
    """A remote file as a seekable stream; each read is a request, so it should be buffered."""

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size, self._place = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        size = max(0, min(len(view), self._size - self._place))
        view[:size] = read_part(self._url, self._place, size)
        self._place += size
        return size


class _written(io.FileIO):
    """A new local file whose errors name it and the remedy."""

    def __init__(self, url: str, file: Path) -> None:
        self._url, self._folder = url, file.parent
        try:
            super().__init__(file, "w")
        except OSError as error:
            raise self._failed(error) from error

    def write(self, data: Any, /) -> int:
        try:
            left = memoryview(data)
            while len(left):
                left = left[super().write(left) :]
            return len(data)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> DataError:
        return DataError(
            f"{redact_query(self._url)} cannot be copied to {self._folder} ({error.strerror}); "
            "make room there, or set REGVQ_CACHE to another folder."
        )


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system of an address, whose connections fsspec keeps for each process, and
    the path there."""
    import fsspec.core

    try:
        return fsspec.core.url_to_fs(url, **(_web_settings() if is_web(url) else {}))
    except ImportError as error:
        raise DataError(f"{redact_query(url)} cannot be opened: {error}.") from None


def _web_settings() -> dict[str, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
    # trust_env: proxies that the environment names
    return {
        "client_kwargs": {"timeout": timeout, "trust_env": True},
        "headers": {"Accept-Encoding": "identity"},
    }


def _web_answer(system: Any, url: str, first: int, last: int) -> tuple[int, Any, bytes]:
    """Return status, headers and, of a part, the bytes of an answer to a request for a part."""
    from fsspec.asyn import sync

    async def ask() -> tuple[int, Any, bytes]:
        session = await system.set_session()
        wanted = {"Accept-Encoding": "identity", "Range": f"bytes={first}-{last}"}
        async with session.get(system.encode_url(url), headers=wanted) as answer:
            if answer.status != 416:
                answer.raise_for_status()
            data = await answer.read() if answer.status == 206 else b""
            return answer.status, answer.headers, data

    return cast("tuple[int, Any, bytes]", sync(system.loop, ask))


def _web_facts(system: Any, url: str) -> Facts:
    # Only GET is reliable: some servers, and signed addresses, refuse HEAD.
    status, headers, _ = _web_answer(system, url, 0, 0)
    if status == 416:  # no first byte: the file is empty
        return Facts(0, "", parts=False)
    mark = headers.get("ETag") or headers.get("Last-Modified") or ""
    if status == 206:
        return Facts(_total(headers), mark, parts=True)
    length = headers.get("Content-Length", "")
    return Facts(int(length) if length.isdecimal() else None, mark, parts=False)


def _web_part(system: Any, url: str, first: int, size: int, whole: int | None) -> bytes:
    status, headers, data = _web_answer(system, url, first, first + size - 1)
    if status != 206 or _total(headers) != whole:
        raise _changed(url)
    return data


def _total(headers: Mapping[str, str]) -> int | None:
    total = headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


def _trying(url: str, action: Callable[[], T]) -> T:
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            return action()
        except (DataError, *_DEFECTS):
            raise
        except Exception as error:
            status = _status(error)
            if isinstance(error, FileNotFoundError) or status in (404, 410):
                raise _missing(url, status) from None
            if isinstance(error, PermissionError) or (
                status is not None and status < 500 and status not in _AGAIN
            ):
                raise _refused(url, status) from None
            if status is None and isinstance(error, ValueError):
                raise DataError(
                    f"{redact_query(url)} is not a valid address ({error}); correct it."
                ) from None
            reason = " ".join(str(error).split()) or type(error).__name__
            if status is not None:
                reason = f"HTTP status {status}"
    raise DataError(
        f"{redact_query(url)} could not be read in {ATTEMPTS} attempts "
        f"({reason.rstrip('.').replace(url, redact_query(url))}); check address and network, then "
        "start again: a run resumes."
    )


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of any client states."""
    for each in (error, getattr(error, "response", None)):
        for name in ("status", "status_code"):
            if isinstance(value := getattr(each, name, None), int):
                return value
    return None


def _missing(url: str, status: int | None) -> DataError:
    status = status or (404 if is_web(url) else None)  # fsspec's own error does not state it
    return DataError(
        f"{redact_query(url)} does not exist{_stated(status)}; check the address and the numbers "
        "in its braces."
    )


def _refused(url: str, status: int | None) -> DataError:
    return DataError(
        f"{redact_query(url)} was refused{_stated(status)}; check that you may read it."
    )


def _stated(status: int | None) -> str:
    return "" if status is None else f" (HTTP status {status})"


def _changed(url: str) -> DataError:
    return DataError(f"{redact_query(url)} changed while it was in use; start again.")

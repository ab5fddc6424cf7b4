"""Files on a web server, read in parts if the server sends parts, otherwise whole.

Networks fail now and then, so every request is tried several times. An error that remains is one
sentence with the address (without its query, which may hold a signature).
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...errors import DataError

if TYPE_CHECKING:
    import httpx
    from _typeshed import WriteableBuffer

ATTEMPTS = 5
PAUSE_S = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""
_CHUNK = 1 << 20
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.IGNORECASE | re.DOTALL)
_AGAIN = (408, 425, 429)  # client errors that may be temporary

T = TypeVar("T")


def url_of(text: object) -> str | None:
    """Return the http(s) address in `text` (a str, or a Path made of one), or None.

    A Path merges the two slashes into one; they are restored. Raises DataError for an address with
    another scheme.
    """
    found = _SCHEME.match(str(text))
    if found is None:
        return None
    scheme, rest = found.groups()
    if scheme.lower() not in ("http", "https"):
        raise DataError(f"{text} has an unsupported scheme; give http:// or https://.")
    return f"{scheme.lower()}://{rest}"


def redact_query(url: str) -> str:
    """Return the address without its query."""
    return url.partition("?")[0]


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
        # Only GET is reliable: some servers, and signed addresses, refuse HEAD.
        with _client().stream("GET", url, headers={"Range": "bytes=0-0"}) as answer:
            if answer.status_code == 416:  # no first byte: the file is empty
                return Facts(0, "", parts=False)
            answer.raise_for_status()
            headers = answer.headers
            mark = headers.get("etag") or headers.get("last-modified") or ""
            if answer.status_code == 206:
                answer.read()  # only then can the connection serve the next request
                return Facts(_total(headers), mark, parts=True)
            length = headers.get("content-length", "")
            return Facts(int(length) if length.isdecimal() else None, mark, parts=False)

    return _trying(url, ask)


def read_part(url: str, first: int, size: int) -> bytes:
    """Return `size` bytes from position `first` of a file whose server sends parts."""
    whole = facts_of(url).size
    if size == 0:
        return b""

    def ask() -> bytes:
        wanted = {"Range": f"bytes={first}-{first + size - 1}"}
        with _client().stream("GET", url, headers=wanted) as answer:
            if answer.status_code == 416 or answer.status_code == 200:
                raise _changed(url)
            answer.raise_for_status()
            if _total(answer.headers) != whole:
                raise _changed(url)
            data = answer.read()
        if len(data) != size:
            raise EOFError(f"{len(data)} of {size} bytes arrived")
        return data

    return _trying(url, ask)


def download(url: str, file: Path) -> None:
    """Download the whole file. Raises DataError if it cannot be read or written."""
    size = facts_of(url).size

    def ask() -> None:
        got = 0
        with _client().stream("GET", url) as answer, file.open("wb") as stream:
            answer.raise_for_status()
            for data in answer.iter_bytes(_CHUNK):
                stream.write(data)
                got += len(data)
        if size is not None and got != size:
            raise EOFError(f"{got} of {size} bytes arrived")

    try:
        _trying(url, ask)
    except OSError as error:
        raise DataError(
            f"{redact_query(url)} cannot be copied to {file.parent} ({error.strerror}); make "
            "room there, or set REGVQ_CACHE to another folder."
        ) from error


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


def _trying(url: str, action: Callable[[], T]) -> T:
    import httpx

    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            return action()
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            if code < 500 and code not in _AGAIN:
                raise _refused(url, code) from None
            reason = f"HTTP status {code}"
        except (httpx.HTTPError, EOFError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
        except (httpx.InvalidURL, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{redact_query(url)} is not a valid address ({error}); correct it."
            ) from None
    raise DataError(
        f"{redact_query(url)} could not be read in {ATTEMPTS} attempts "
        f"({reason.rstrip('.')}); check address and network, then start again: a run resumes."
    )


def _refused(url: str, code: int) -> DataError:
    if code in (404, 410):
        return DataError(
            f"{redact_query(url)} does not exist (HTTP status {code}); check the address and "
            "the numbers in its braces."
        )
    return DataError(
        f"{redact_query(url)} was refused (HTTP status {code}); check that you may read it."
    )


def _changed(url: str) -> DataError:
    return DataError(f"{redact_query(url)} changed while it was in use; start again.")


def _total(headers: httpx.Headers) -> int | None:
    total = headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


_clients: dict[int, httpx.Client] = {}


def _client() -> httpx.Client:
    """Return the client of this process.

    Connections are kept, and forked workers must not share.
    """
    client = _clients.get(os.getpid())
    if client is None:
        import httpx

        client = _clients.setdefault(
            os.getpid(),
            httpx.Client(
                follow_redirects=True,
                timeout=httpx.Timeout(60, connect=15),
                headers={"Accept-Encoding": "identity"},
                limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
            ),
        )
    return client

"""Checks of JSON that a visitor sends: its depth, its size, and the files that it names.

Gradio fetches a value ``{"path": "http://…", "meta": {"_type": "gradio.FileData"}}`` wherever it
stands in an input of any component, before the component sees it. So each value is checked first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from .answers import Refusal
from .settings import Limits

NOT_FETCHED = "The server fetches nothing: upload a picture instead of naming an address."
NOT_UPLOADED = "A file that an input names must have been uploaded to this server."

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ADDRESS = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:|[/\\]{2})", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_WHOLE_ADDRESS = re.compile(r"\s*(?:https?|ftp|file|gopher)://\S+\s*", re.IGNORECASE)
_OWN_FILE = "/gradio_api/file="


def read_json(body: bytes, limits: Limits) -> Any:
    """Return the value of a JSON text. Raises Refusal if it is broken, too deep, or too long.

    Brackets and commas are counted before anything is parsed.
    """
    plain = _STRING.sub(b"0", body)
    if plain.count(b",") + plain.count(b"[") + plain.count(b"{") > limits.values:
        raise Refusal(413, f"The request must hold at most {limits.values:,} values.")
    depth = 0
    for bracket in _BRACKET.finditer(plain):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limits.depth:
            raise Refusal(400, f"The request must be nested at most {limits.depth} levels deep.")
    try:
        if json.detect_encoding(body) != "utf-8":
            raise ValueError
        value = json.loads(body)  # by the parser that the framework uses, too
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()  # half a character cannot be sent back
    except (ValueError, RecursionError):
        raise Refusal(400, "The request is not valid JSON in UTF-8.") from None
    return value


def check_files(value: Any, is_ours: Callable[[str], bool]) -> None:
    """Raise Refusal if ``value`` names a file by an address, or one for which ``is_ours`` is False.

    ``value`` is any nesting of lists and dictionaries.
    """
    for path, url in files(value):
        if is_address(path) or ("://" in url and _OWN_FILE not in url):
            raise Refusal(400, NOT_FETCHED)
        if path and not is_ours(path):
            raise Refusal(400, NOT_UPLOADED)


def files(value: Any) -> Iterator[tuple[str, str]]:
    """Yield "path" and "url", each "" if it is no text, of every dictionary in ``value`` that has
    one of them: Gradio takes it for a file, in some components without any mark."""
    for one in _nested(value):
        if isinstance(one, dict):
            path, url = (
                part if isinstance(part, str) else "" for part in (one.get("path"), one.get("url"))
            )
            if path or url:
                yield path, url


def _nested(value: Any) -> Iterator[Any]:
    """Yield ``value`` and everything in its lists and dictionaries."""
    left = [value]
    while left:
        one = left.pop()
        yield one
        if isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, (list, tuple)):
            left.extend(one)


def is_address(path: str) -> bool:
    """Return True if ``path`` names something outside the server's own disk."""
    return "://" in path or (_ADDRESS.match(path) is not None and not _DRIVE.match(path))


def check_tool_call(value: Any) -> None:
    """Raise Refusal if an argument of an MCP tool is an address, which Gradio would fetch."""
    for one in _nested(value):
        if isinstance(one, str) and _WHOLE_ADDRESS.fullmatch(one[:4096]):
            raise Refusal(400, 'The server fetches nothing: send a picture as "data:image/…".')


def lies_in(path: str, folder: str) -> bool:
    """Return True if the absolute ``path`` names an existing file below ``folder``."""
    try:
        real = os.path.realpath(path)
        return (
            os.path.isabs(path)
            and os.path.isfile(real)
            and os.path.commonpath([real, os.path.realpath(folder)]) == os.path.realpath(folder)
        )
    except (OSError, ValueError):
        return False

"""Text from files: its encoding, its lines, captions, labels and JSON.

Nothing is guessed: a text is UTF-8, or what its byte order mark says, or it is refused by name.
Lines end at "\\n" or "\\r\\n" alone. `str.splitlines` also cuts at U+2028, U+0085 and six other
characters, which JSON and captions may hold.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError, printable

MAX_LABEL = 2**31 - 1
"""The largest label: token shards store int32."""
_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_SURROGATES = re.compile("[\ud800-\udfff]")
# Controls, and U+FFFD, which stands for bytes that were lost before the text came here.
_NOISE = re.compile("[\x00-\x1f\x7f-\x9f\ufffd]+")


def decode(data: bytes, name: str) -> str:
    """Return the text in a file's bytes: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Raises ValueError, a sentence that begins with `name`, for any other encoding.
    """
    encoding = next((known for mark, known in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        known = encoding.upper().removesuffix("-SIG")
        raise ValueError(
            f"{name} is not a text file in {known} (byte {error.start}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{name} holds zero bytes, as UTF-16 without a byte order mark does; save it as UTF-8"
        )
    return text


def lines_of(text: str) -> list[tuple[int, str]]:
    """Return the lines that are not blank, each with its number from 1.

    Lines end at "\\n" or "\\r\\n"; in a text without "\\n", at "\\r" (as on early Macintoshes).
    """
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = enumerate(text.split("\n"), start=1)
    return [(number, line.removesuffix("\r")) for number, line in lines if line.strip()]


def read_text(path: Path) -> str:
    """Return the text of a file. Raises DataError if it is missing, or not a text."""
    try:
        return decode(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; extract the archive again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check it.") from error
    except ValueError as error:
        raise DataError(f"{error}.") from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError, with a reason, if it is not one."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def clean_caption(text: str) -> str:
    """Return a caption as one line with single spaces.

    Line breaks of every kind and control characters become spaces. So do U+FFFD and halves of
    surrogate pairs (an emoji that was cut in two): they stand for signs that were lost, and CUB's
    published captions hold some inside words. Surrogates that belong together become their sign.
    """
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return " ".join(_NOISE.sub(" ", text).split())


def captions_in(value: object) -> tuple[str, ...]:
    """Return the captions that a JSON value holds: a text, a list of texts, or null for none.

    Empty ones are left out. Raises ValueError if the value is something else.
    """
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or any(not isinstance(text, str | None) for text in texts):
        raise ValueError("captions that are not texts")
    return cleaned(text for text in texts if text is not None)


def cleaned(texts: Iterable[str]) -> tuple[str, ...]:
    """Return cleaned captions without the empty ones."""
    return tuple(filter(None, map(clean_caption, texts)))


def label_in(value: object) -> int:
    """Return a label from a JSON value or a text: a whole number from 0, or -1 for null.

    Raises ValueError, which shows the value, for anything else: negative numbers, fractions, true
    and false, and numbers above MAX_LABEL.
    """
    if value is None:
        return -1
    number: object = value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value.strip()):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_LABEL:
        raise ValueError(printable(json.dumps(value, ensure_ascii=False))[:40])
    return number

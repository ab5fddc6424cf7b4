"""Errors that a user's input can cause.

Each message is one sentence: the file or value, what is wrong with it, and the remedy.
"""

from __future__ import annotations

import contextlib
import io
import sys


def printable(text: object) -> str:
    """Return a text, such as a file's name, for one line of any terminal.

    Line breaks, control characters and the lone surrogates by which Python holds bytes that are not
    UTF-8 become question marks. A terminal that cannot show other letters, such as an ASCII one,
    needs ``tolerant_output`` too.
    """
    return "".join(sign if sign.isprintable() else "?" for sign in str(text))


def tolerant_output() -> None:
    """Let stdout and stderr write escapes for letters that their encoding does not have.

    A file's name must not end a run: by default, printing one raises UnicodeEncodeError.
    """
    for stream in (sys.stdout, sys.stderr):
        # A stream that was replaced, as tests do, may be another kind of object.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")


class _Sentence(ValueError):
    """An error whose message can be printed anywhere, whatever names it holds."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message).replace("\n", " ")))


class CheckpointError(_Sentence):
    """A bundle that is missing, broken, or does not fit its use."""


class DataError(_Sentence):
    """A data set that cannot be used."""


class PictureError(_Sentence):
    """A picture or a label map that cannot be read."""


class FeatureError(_Sentence):
    """Pretrained weights that are missing, broken, or do not fit their network."""

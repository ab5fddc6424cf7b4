"""Errors of the command line: one line on stderr and exit code 2.

The mistakes that a user can make end a command with one sentence, written where the mistake was
found. Anything else is a defect of this project and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from regvq.errors import tolerant_output
from regvq.extras import missing_extra
from regvq.threads import wait_passively

Flags = TypeVar("Flags")

_PACKAGES = ("accelerate", "filelock", "tensorboard", "threadpoolctl", "tqdm", "tyro")
_FRAME = "│╭╰╮╯┃┏┗┓┛|"
_RULE = " ─━"
_HELP_INDENT = 9
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


class UsageError(ValueError):
    """A value of a flag that cannot be used: one sentence with the flag and the remedy."""


@contextlib.contextmanager
def one_line_errors(*mistakes: type[BaseException]) -> Iterator[None]:
    """Turn ``mistakes`` raised inside into ``error: SENTENCE`` on stderr and exit code 2.

    An OSError (a file that is missing or cannot be written) always counts as a mistake. Ctrl-C ends
    with exit code 130, as shells expect, and without a traceback. Letters that the terminal cannot
    show, as in names of files, are written as escapes from here on.
    """
    tolerant_output()
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except (OSError, *mistakes) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def prepare() -> None:
    """Prepare the process of a command, before torch is imported: idle threads sleep.

    Exits with one sentence and code 2 if packages of the extra ``train`` are not installed.
    """
    wait_passively()
    if problem := missing_extra("training", "train", *_PACKAGES):
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2)


def parse_flags(
    flags: type[Flags],
    arguments: Sequence[str] | None = None,
    *,
    program: str,
    description: str | None = None,
) -> Flags:
    """Return the command line as the dataclass ``flags``.

    ``arguments`` defaults to ``sys.argv[1:]``. Exits with code 2 after ``error: …`` if they are
    wrong, and with code 0 after printing the help if ``--help`` is among them.
    """
    prepare()
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(flags, prog=program, description=description, args=arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        said = " ".join(_lines(complaint.getvalue())) or "the command line could not be read"
        said = re.sub(r"^Error parsing __tyro\S+: ", "", said)  # tyro's names for dataclasses
        print(f"error: {said} (all flags: {program} --help)", file=sys.stderr)
        raise SystemExit(2) from None


# tyro 1.0 prints a box of several lines and exits; only the box's message is wanted. Its structured
# errors (tyro._errors.on_parse_error) are private: its docstring says that they may change or
# disappear in any release. So the printed box is read, and its frame, help texts and footer are
# dropped.
def _lines(box: str) -> list[str]:
    """Return the lines of tyro's box that state the mistake."""
    kept: list[str] = []
    # The first line is the frame with the box's title, which the next line repeats.
    for raw in _COLOR.sub("", box).splitlines()[1:]:
        inside = raw.strip(_FRAME)
        line = inside.strip(_RULE)
        if line.startswith(("For full helptext", "Argument helptext")):
            break
        # Help texts are indented further than the flags that they explain.
        if line and len(inside) - len(inside.lstrip(" ")) < _HELP_INDENT:
            kept.append(line)
    return kept


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror}"
    # str() of a KeyError puts quotes around the message.
    said = str(error.args[0]) if len(error.args) == 1 else str(error)
    return " ".join(said.split()) or type(error).__name__

"""What a wrong command line or a wrong file gets: one line on stderr and exit code 2.

A traceback tells a user where the code stood, not what to do. So the mistakes that a user can make
(each already one sentence, written where it was found) end a command with that sentence alone;
anything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

Flags = TypeVar("Flags")

_FRAME = "│╭╰╮╯┃┏┗┓┛|"
_RULE = " ─━"
_HELP_INDENT = 9
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class UsageError(ValueError):
    """A flag's value that cannot be used: one sentence with the flag and what would be right."""


@contextlib.contextmanager
def one_line_errors(*mistakes: type[BaseException]) -> Iterator[None]:
    """Turns ``mistakes`` raised inside into ``error: SENTENCE`` on stderr and exit code 2.

    Files that are missing or cannot be written (OSError) always count as mistakes; Ctrl-C ends
    with exit code 130 as shells expect, without a traceback too.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except (OSError, *mistakes) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def parse_flags(
    flags: type[Flags],
    arguments: Sequence[str] | None = None,
    *,
    program: str,
    description: str | None = None,
) -> Flags:
    """The command line as the dataclass ``flags``, by tyro; its complaints shortened to one line.

    ``arguments`` defaults to ``sys.argv[1:]``. Exits with code 2 after ``error: …`` if they are
    wrong, and with code 0 after printing the help if that was asked for.
    """
    import tyro

    complaint = io.StringIO()
    try:
        # tyro draws a box of several lines; only what it says is passed on.
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(flags, prog=program, description=description, args=arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        said = " ".join(_lines(complaint.getvalue())) or "the command line could not be read"
        said = re.sub(r"^Error parsing __tyro\S+: ", "", said)  # tyro's names for dataclasses
        print(f"error: {said} (all flags: {program} --help)", file=sys.stderr)
        raise SystemExit(2) from None


def _lines(box: str) -> list[str]:
    """The lines of tyro's box that say what is wrong, without its frame, help texts and footer."""
    kept: list[str] = []
    # The first line is the frame with the box's title, which the next line says again.
    for raw in _COLOUR.sub("", box).splitlines()[1:]:
        inside = raw.strip(_FRAME)
        line = inside.strip(_RULE)
        if line.startswith(("For full helptext", "Argument helptext")):
            break
        # Help texts stand further in than the flags they explain.
        if line and len(inside) - len(inside.lstrip(" ")) < _HELP_INDENT:
            kept.append(line)
    return kept


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror}"
    # KeyError and the like print quotes around their message; the message alone is wanted.
    said = str(error.args[0]) if len(error.args) == 1 else str(error)
    return " ".join(said.split()) or type(error).__name__

"""Error messages of the commands."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from train.cli.errors import UsageError, one_line_errors, parse_flags


@dataclass(frozen=True)
class Inner:
    name: str
    """Name of the thing, described at such length that the help text needs several lines."""


@dataclass(frozen=True)
class Outer:
    inner: Inner
    """Things inside."""
    kind: Literal["round", "square"] = "round"
    """Its shape."""
    size: int = 1
    path: Path | None = field(default=None)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")


def parse(*arguments: str) -> Outer:
    return parse_flags(Outer, arguments, program="python train/thing.py")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(*arguments)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    assert said.err.rstrip().endswith("(all flags: python train/thing.py --help)")
    return said.err


def test_flags_fill_the_dataclass() -> None:
    flags = parse("--inner.name", "a", "--size", "3", "--path", "x/y")
    assert flags == Outer(Inner("a"), size=3, path=Path("x/y"))


def test_an_unknown_flag_is_named_with_similar_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = complaint(capsys, "--inner.name", "a", "--inner.nome", "b")
    assert "--inner.nome" in said and "Perhaps you meant: --inner.name STR" in said
    assert "help text" not in said and "│" not in said


def test_a_missing_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "--size", "2")
    assert "--inner.name STR" in said and "several lines" not in said


@pytest.mark.parametrize(
    "arguments, named",
    [
        (("--size", "two"), ("--size", "'two'")),
        (("--size", "0"), ("size must be at least 1, got 0",)),
        (("--kind", "oval"), ("--kind", "'oval'", "'round', 'square'")),
    ],
)
def test_a_wrong_value_is_named_with_its_flag(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: tuple[str, ...]
) -> None:
    said = complaint(capsys, "--inner.name", "a", *arguments)
    assert all(part in said for part in named)


def test_help_is_printed_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code in (0, None)
    said = capsys.readouterr()
    assert "--inner.name" in said.out and "Its shape." in said.out and said.err == ""


def ended(capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop, one_line_errors(UsageError, KeyError):
        raise error
    return stop.value.code, capsys.readouterr().err


def test_a_users_mistake_gets_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, UsageError("--limit 0\n  is wrong")) == (2, "error: --limit 0 is wrong\n")
    assert ended(capsys, KeyError("no 'x'")) == (2, "error: no 'x'\n")
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b.json")
    assert ended(capsys, missing) == (2, "error: a/b.json: No such file or directory\n")


def test_ctrl_c_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, KeyboardInterrupt()) == (130, "stopped\n")


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors(UsageError):
        raise ZeroDivisionError
    with one_line_errors(UsageError):
        pass

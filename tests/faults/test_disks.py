"""Disks that are full, read-only or over a quota: one sentence, nothing half, and a next start."""

from __future__ import annotations

from pathlib import Path

import pytest

from .injection import Fault
from .runs import Task
from .server import Server
from .test_kills import _around, _clean
from .trials import try_errors

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("every", [83, pytest.param(7, marks=pytest.mark.long)])
def test_an_error_at_any_call_gets_one_sentence(
    server: Server, tokenizer: Task, tmp_path: Path, every: int
) -> None:
    points = [
        *_around(tokenizer, ("tensors", "exchange", "os.rename events")),
        *range(30, tokenizer.whole.calls, every),
    ]
    for index, at in enumerate(points):
        fault = Fault(at, ("ENOSPC", "EDQUOT", "EROFS")[index % 3])
        try_errors(server, tokenizer, tmp_path / "run", fault, "full or read-only disk")
    assert _clean("full or read-only disk")


def test_files_over_a_quota_get_one_sentence(
    server: Server, tokenizer: Task, tmp_path: Path
) -> None:
    """The system refuses to write beyond a size: the first file that is larger ends the run."""
    for limit in (200, 1_500, 10_000, 100_000):
        try_errors(server, tokenizer, tmp_path / "run", limit, "file over a limit")
    assert _clean("file over a limit")


def test_encoding_on_a_full_disk_gets_one_sentence(
    server: Server, encode: Task, tmp_path: Path
) -> None:
    for at in range(8, encode.whole.calls, encode.whole.calls // 5):
        try_errors(server, encode, tmp_path / "shards", Fault(at, "ENOSPC"), "full disk, encode")
    assert _clean("full disk, encode")

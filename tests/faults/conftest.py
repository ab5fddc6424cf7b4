"""One process that runs the tasks, the tasks, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .runs import Task, make_task, pictures
from .server import Server
from .table import TABLE


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    served = Server()
    yield served
    served.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def tokenizer(server: Server, place: Path) -> Task:
    """A tokenizer's run of four steps with two saves."""
    return make_task(server, "tokenizer", place / "tokenizer", "--data.root", pictures(place / "d"))


@pytest.fixture(scope="session")
def encode(server: Server, place: Path, tokenizer: Task) -> Task:
    """An encoding of four pictures into two shards."""
    return make_task(
        server, "encode", place / "shards", "--checkpoint", place / "tokenizer",
        "--data.name", "folder", "--data.root", place / "d", "--data.size", 16, "--shard", 2,
        "--device", "cpu",
    )  # fmt: skip


@pytest.fixture(scope="session")
def prior(server: Server, place: Path, encode: Task) -> Task:
    """A prior's run of four steps with two saves, on token shards."""
    return make_task(
        server, "prior", place / "prior", "--tokenizer", place / "tokenizer",
        "--tokens", place / "shards", "--data.root", place / "d",
    )  # fmt: skip


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(str(TABLE))

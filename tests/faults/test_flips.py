"""One flipped bit in every file of bundles, a run and shards: refused, or harmless."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from train.recipes.command_line import parse_run

from .flips import read_prior, read_run, read_shards, read_tokenizer, try_flips
from .runs import Task
from .table import TABLE
from .test_kills import _clean

pytestmark = pytest.mark.slow


def test_flips_in_a_bundle(place: Path, tokenizer: Task, prior: Task, tmp_path: Path) -> None:
    for name, read in (("tokenizer", read_tokenizer), ("prior", read_prior)):
        shutil.copytree(place / name / "bundle", tmp_path / name)
        try_flips(f"flip, {name}", tmp_path / name, read, 16)
        assert _clean(f"flip, {name}")


def test_flips_in_a_run(place: Path, tokenizer: Task, tmp_path: Path, capsys) -> None:
    shutil.copytree(place / "tokenizer", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "bundle")
    config = parse_run([*tokenizer.arguments, "--out", str(tmp_path / "run")], "run")
    config = replace(config, data=replace(config.data, name="folder"))
    try_flips("flip, run", tmp_path / "run", read_run(config), 14)
    assert _clean("flip, run")


def test_flips_in_shards(place: Path, encode: Task, tmp_path: Path) -> None:
    shutil.copytree(place / "shards", tmp_path / "shards")
    try_flips("flip, shards", tmp_path / "shards", read_shards, 14)
    assert _clean("flip, shards")
    flips = sum(row.tried for kind, row in TABLE.rows.items() if kind.startswith("flip"))
    assert flips >= 300 or flips == TABLE.rows["flip, shards"].tried  # the latter: run alone

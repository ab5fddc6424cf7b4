"""The benchmark of lookups runs, and what it compares computes the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import peers

    return peers


def test_a_table_and_a_file(tmp_path):
    out = tmp_path / "figures.json"
    arguments = "--cases 64x4 --rows 256 --tasks lookup --methods regvq-studio textbook --repeats 1"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "lookup.py"), *arguments.split(), "--out", str(out)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| regvq-studio |" in done.stdout
    figures = json.loads(out.read_text())["figures"]
    assert [row["method"] for row in figures] == ["regvq-studio", "textbook"]
    assert all(row["ms"] > 0 and row["extra_mb"] >= 0 for row in figures)


def test_both_lookups_find_the_same_codes(peers):
    found = []
    for build in (peers.lookup_ours, peers.lookup_textbook):
        torch.manual_seed(0)
        found.append(build(torch.randn(2, 6, 16, 16), 300)())
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["vq", "simvq", "regvq", "nsvq"])
def test_training_steps_run(peers, name):
    for build in (peers.train_ours(name), peers.train_textbook(name)):
        build(torch.randn(1, 6, 16, 16), 40)()


def test_peers_run(peers):
    pytest.importorskip("vector_quantize_pytorch")
    for kind in ("VectorQuantize", "SimVQ"):
        peers.train_lucidrains(kind)(torch.randn(1, 6, 16, 16), 40)()
    peers.lookup_lucidrains(torch.randn(1, 6, 16, 16), 40)()

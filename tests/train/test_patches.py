"""train/patches.py: adds real patches to a bundle and changes nothing else."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from core.analysis.atlas import build_atlas
from core.analysis.real_patches import unpack_patches
from core.bundles.bundle import find_bundle
from core.networks.autoencoder import NetworkConfig
from core.paths import ROOT
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig

TRAIN = ROOT / "train"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=24))).eval()
    atlas = build_atlas(tokenizer, source="a test", counts=np.arange(24))
    atlas["umap2"] = np.ones((24, 2), np.float32)
    recipe = {"steps": 1, "data": {"name": "scenes"}}
    tokenizer.save_pretrained(tmp_path / "small", atlas=atlas, recipe=recipe)
    return tmp_path / "small"


def run(monkeypatch: pytest.MonkeyPatch, command: str, *arguments: object) -> int:
    """Run ``python train/COMMAND …`` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
    monkeypatch.syspath_prepend(str(TRAIN))
    try:
        runpy.run_path(str(TRAIN / command), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_patches_are_added_and_named_and_nothing_else_changes(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, weights = find_bundle(bundle).atlas, (bundle / "model.safetensors").read_bytes()
    scenes = ("--data.name", "scenes", "--data.size", 32)
    flags = ("--checkpoint", bundle, *scenes, "--device", "cpu")
    assert run(monkeypatch, "patches.py", *flags, "--limit", 5, "--per-code", 2) == 0
    after = find_bundle(bundle)
    assert (bundle / "model.safetensors").read_bytes() == weights
    for name, array in before.items():
        np.testing.assert_array_equal(after.atlas[name], array)
    tiles, starts = unpack_patches(after.atlas)
    assert 0 < np.diff(starts).max() <= 2
    told = after.metrics["patches"]
    assert told["patches"] == len(tiles) and told["pictures"] == 5
    assert "5 pictures: scenes drawn by this project" in after.card
    # A later evaluate.py --publish keeps the patches and the UMAP positions.
    report = tmp_path / "report.json"
    assert (
        run(
            monkeypatch,
            "evaluate.py",
            *flags,
            "--limit",
            2,
            "--features.name",
            "none",
            "--publish",
            "--out",
            report,
        )
        == 0
    )
    published = find_bundle(bundle)
    np.testing.assert_array_equal(published.atlas["patches"], after.atlas["patches"])
    np.testing.assert_array_equal(published.atlas["umap2"], before["umap2"])
    assert published.metrics["patches"] == told and "5 pictures: scenes" in published.card
    assert published.atlas["counts"].sum() == json.loads(report.read_text())["tokens"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--limit", 0), "--limit must be 1 or more, got 0"),
        (("--per-code", -1), "--per-code must be 1 or more, got -1"),
        (("--checkpoint", "nowhere"), "nowhere does not exist"),
        (("--data.name", "folder", "--data.root", "nothing-here"), "nothing-here"),
    ],
)
def test_a_mistake_gets_one_line(
    bundle: Path,
    flags: tuple,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    defaults = {"--checkpoint": bundle, "--data.name": "scenes", "--device": "cpu"}
    given = defaults | dict(zip(flags[::2], flags[1::2], strict=True))
    code = run(monkeypatch, "patches.py", *(part for pair in given.items() for part in pair))
    said = capsys.readouterr().err
    assert code == 2 and said.startswith("error: ") and said.count("\n") == 1 and named in said


def test_a_bundle_without_an_atlas_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    Tokenizer(TokenizerConfig(network, VQConfig(size=8))).save_pretrained(tmp_path / "bare")
    assert (
        run(
            monkeypatch,
            "patches.py",
            "--checkpoint",
            tmp_path / "bare",
            "--data.name",
            "scenes",
            "--data.size",
            32,
            "--limit",
            1,
            "--device",
            "cpu",
        )
        == 2
    )
    assert "has no atlas.npz; run train/evaluate.py with --publish" in capsys.readouterr().err

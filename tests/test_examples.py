"""The examples: each runs from start to end, as a reader would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from core.data import open_dataset
from core.images import to_pictures
from core.paths import ROOT

EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "quickstart.ipynb"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}


def run(*words: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True, text=True, cwd=cwd, check=False, timeout=120,
        env=ENVIRONMENT | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve pictures, some of them in a subfolder."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    scenes = open_dataset("scenes", size=64, split="test")
    for i in range(12):
        name = f"more/{i}.png" if i % 3 == 0 else f"{i}.png"
        to_pictures(scenes[i].image[None])[0].save(folder / name)
    return folder


def test_every_example_is_run_by_a_test():
    found = {file.name for file in EXAMPLES.iterdir() if file.is_file()}
    assert found == {
        "quickstart.ipynb",
        "train_on_your_photos.py",
        "new_quantizer.py",
        "tokenizer_in_your_trainer.py",
    }


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) > 4
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_notebook_runs_in_a_new_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    results = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output
    ]
    pictures = [output for output in results if "image/png" in output.data]
    charts = [output for output in results if "image/svg+xml" in output.data]
    assert len(pictures) == 4 and len(charts) == 1
    printed = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stdout"
    )
    assert " dB, tokens (6, 32, 32)" in printed and "of 1024 codes used" in printed


@pytest.mark.slow
def test_train_on_your_photos_trains_evaluates_and_writes_a_comparison(
    photos: Path, tmp_path: Path
):
    out = tmp_path / "run"
    printed = run(
        *(EXAMPLES / "train_on_your_photos.py", photos, "--steps", 3, "--out", out),
        *("--batch", 4, "--data.size", 32, "--data.last-size", "None"),
        *("--features.name", "none", "--loss.perceptual", 0, "--loss.contrastive", "none"),
        cwd=tmp_path,
    )
    assert printed.startswith("12 pictures")
    assert (out / "bundle" / "model.safetensors").is_file()
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["images"] == 12 and "webp" in report["codecs"]
    assert Image.open(out / "comparison.png").size == (4 * 64, 2 * 64)


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", ["regvq", "simvq", "fsq", "vq"])
def test_tokenizer_in_your_trainer_prints_loss_and_utilization(quantizer: str, tmp_path: Path):
    file = EXAMPLES / "tokenizer_in_your_trainer.py"
    lines = run(file, "--quantizer", quantizer, "--steps", 4, cwd=tmp_path).splitlines()
    assert lines[0].startswith("step 4: squared error ") and "utilization " in lines[0]
    assert lines[1].startswith("new pictures from ")

"""The examples: each runs from start to end, as a reader would run it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from core.data import open_dataset
from core.images import to_pictures
from core.paths import ROOT
from tests.helpers import fresh

EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "quickstart.ipynb"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}


def run(*words: object, cwd: Path, **environment: str) -> str:
    done = fresh.run(words, cwd, ENVIRONMENT | environment)
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
@pytest.mark.parametrize(
    "quantizer",
    ["regvq", "fsq", *(pytest.param(other, marks=pytest.mark.long) for other in ("simvq", "vq"))],
)
def test_tokenizer_in_your_trainer_prints_loss_and_utilization(quantizer: str, tmp_path: Path):
    file = EXAMPLES / "tokenizer_in_your_trainer.py"
    lines = run(file, "--quantizer", quantizer, "--steps", 4, cwd=tmp_path).splitlines()
    assert lines[0].startswith("step 4: squared error ") and "utilization " in lines[0]
    assert lines[1].startswith("new pictures from ")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the recipe in new_quantizer.py, after two steps."""
    out = tmp_path_factory.mktemp("runs") / "product"
    run(
        *(ROOT / "train" / "run.py", "--recipe", f"{EXAMPLES / 'new_quantizer.py'}:scenes_product"),
        *("--steps", 2, "--batch", 4, "--data.size", 32, "--out", out),
        cwd=out.parent,
    )
    return out


@contextmanager
def explorer(folder: Path, log: Path) -> Iterator[str]:
    """Run the explorer with the quantizer of the example; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = ENVIRONMENT | {
        "REGVQ_EXTENSIONS": str(EXAMPLES / "new_quantizer.py"),
        "REGVQ_CHECKPOINTS": str(folder),
    }
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, ROOT / "app.py", "--port", str(port)],
            stdout=output,
            stderr=output,
            env=environment,
        )
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    urlopen(address, timeout=10).close()
                    break
                except (URLError, TimeoutError):
                    assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.slow
def test_new_quantizer_satisfies_the_contract_of_quantizers(tmp_path: Path):
    code = """
import torch
from new_quantizer import ProductVQConfig

quantizer = ProductVQConfig(size=16).build(8)
z = torch.randn(2, 8, 3, 5, requires_grad=True)
quantized = quantizer(z)
(quantized.z.sum() + sum(quantized.losses.values())).backward()
assert z.grad is not None and quantizer.halves.grad is not None
rows = z.detach().permute(0, 2, 3, 1).reshape(-1, 8)
assert quantizer.codebook().shape == (16, 8)
assert torch.equal(quantizer.logits(rows).argmax(1), quantizer.assign(z).flatten())
quantizer.eval()
assert torch.equal(quantizer(z).z, quantizer.embed(quantizer.assign(z)))
print("satisfied")
"""
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, EXAMPLES)))}
    assert run("-c", code, cwd=tmp_path, **environment) == "satisfied\n"


@pytest.mark.slow
def test_new_quantizer_is_trained_and_evaluated_without_a_change_to_the_package(
    product: Path, tmp_path: Path
):
    config = json.loads((product / "bundle" / "config.json").read_text(encoding="utf-8"))
    assert config["tokenizer"]["quantizer"] == {"name": "product", "size": 1024, "beta": 0.25}
    evaluate = (
        *(ROOT / "train" / "evaluate.py", "--recipe", EXAMPLES / "new_quantizer.py"),
        *("--checkpoint", product, "--data.name", "scenes", "--data.size", 32, "--limit", 2),
        *("--features.name", "none", "--out", tmp_path / "report.json"),
    )
    run(*evaluate, cwd=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["images"] == 2 and report["codebook_size"] == 1024


@pytest.mark.slow
def test_explorer_opens_the_new_quantizer(product: Path, tmp_path: Path):
    from gradio_client import handle_file

    from tests.helpers import local_http

    picture = tmp_path / "picture.png"
    Image.radial_gradient("L").resize((32, 24)).convert("RGB").save(picture)
    with explorer(product.parent, tmp_path / "app.log") as address:
        client = local_http.explorer(address)
        *_, figures = client.predict(handle_file(picture), "product", api_name="/reconstruct")
    assert figures["codebook_size"] == 1024 and figures["tokens"] == 48

"""Fixtures that every part's tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.paths import ROOT

# Explorers in the processes of tests keep uploads apart, as users' do: one that ends deletes its
# files, and equal pictures have equal paths. Gradio reads the name when it is imported. Its client
# leaves an empty folder for each file that it fetches, so that all of this ends with the tests;
# pytest's own folders stay where they are looked for.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
tempfile.tempdir = tempfile.mkdtemp(prefix="regvq-tests-")
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="uploads-")
atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)


@pytest.fixture(autouse=True)
def _same_draws_every_time() -> None:
    """Tests draw weights and pictures at random, and must draw the same whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path | None:
    """Real pictures beside the project, where there are any: a test must do without them too."""
    root = ROOT.parent / "shared" / "data"
    return root if root.is_dir() else None


@pytest.fixture
def photos(tmp_path: Path, shared_data: Path | None) -> Path:
    """A folder of twelve photographs or, without real ones, of pictures with their statistics."""
    folder = tmp_path / "photos"
    folder.mkdir()
    real = sorted(shared_data.glob("photos/test/**/*.jpg"))[:12] if shared_data else []
    for path in real:
        shutil.copy(path, folder / path.name)
    for index in range(len(real), 12):
        _natural_picture(index).save(folder / f"made{index:02d}.jpg", quality=92)
    return folder


def _natural_picture(seed: int, height: int = 128, width: int = 192) -> Image.Image:
    """Noise with a photograph's 1/f spectrum, bright above, with a few discs that occlude it."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    amplitude = 1 / np.maximum(frequency, 1 / width)
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, height, width))) * amplitude).real
    noise /= noise.std(axis=(1, 2), keepdims=True)
    grey, tint = noise[0], noise * 0.3
    rows, columns = np.mgrid[:height, :width]
    image = 128 + 35 * (grey + tint) + 60 * (0.5 - rows / height)
    for _ in range(5):
        top, left, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(6, 25)
        disc = (rows - top) ** 2 + (columns - left) ** 2 < radius**2
        image[:, disc] = rng.uniform(20, 235, (3, 1)) + 12 * grey[disc]
    return Image.fromarray(image.transpose(1, 2, 0).clip(0, 255).astype(np.uint8))

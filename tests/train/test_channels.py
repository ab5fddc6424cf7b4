"""Tokenizers of other than three channels, from the command line to the reloaded bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.arrays import array_to_tensor, read_array
from core.data import center, open_dataset
from core.metrics.psnr_ssim import psnr
from core.tokenizer import Tokenizer
from tests.helpers.pretrained_weights import squeezenet
from train import encode, evaluate, patches, run
from train.loop.validation import HeldOut

TINY = (
    "--tokenizer.network.widths", "8", "16", "--tokenizer.network.latent-dim", "4",
    "--tokenizer.quantizer.size", "32", "--batch", "4", "--data.size", "32", "--data.workers", "0",
    "--data.name", "folder", "--optimizer.lr", "2e-3",
)  # fmt: skip


def waves(channels: int, seed: int) -> np.ndarray:
    """A smooth picture (40, 48, C) in [0, 1], each channel another."""
    y, x = np.mgrid[:40, :48] / 48
    at = np.arange(1, channels + 1)
    return np.sin(5 * x[..., None] * at + seed) * np.cos(3 * y[..., None] + at) * 0.4 + 0.5


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A folder of .npy pictures of four channels: float and 16 bits."""
    for split, count in (("train", 6), ("test", 3)):
        folder = tmp_path / "deep" / split
        folder.mkdir(parents=True)
        for index in range(count):
            picture = waves(4, index).astype(np.float32)
            kept = np.rint(picture * 65535).astype(np.uint16) if index % 2 else picture
            np.save(folder / f"{index}.npy", kept)
    return tmp_path / "deep"


@pytest.fixture
def gray(tmp_path: Path) -> Path:
    """A folder of 16-bit gray TIFF pictures."""
    for split, count in (("train", 6), ("test", 3)):
        folder = tmp_path / "gray" / split
        folder.mkdir(parents=True)
        for index in range(count):
            levels = np.rint(waves(1, index)[:, :, 0] * 65535).astype(np.uint16)
            Image.fromarray(levels).save(folder / f"{index}.tif")
    return tmp_path / "gray"


def train(root: Path, out: Path, *flags: object, steps: int = 12) -> Path:
    given = ["scenes-vq", "--data.root", root, "--out", out, "--steps", steps, *TINY, *flags]
    return run.main(list(map(str, given)))


def evaluated(checkpoint: Path, root: Path, report: Path, *flags: str) -> dict:
    given = ["--checkpoint", checkpoint, "--data.name", "folder", "--data.root", root]
    evaluate.main([*map(str, given), "--out", str(report), "--features.name", "none", *flags])
    return json.loads(report.read_text())


def test_npy_pictures_of_four_channels(
    deep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = ("--tokenizer.channels", "4", "--tokenizer.perceptual-channels", "3", "2", "1")
    squeezenet(tmp_path / "squeezenet.safetensors")
    losses = (
        "--features.name", "squeezenet", "--features.weights", tmp_path / "squeezenet.safetensors",
        "--loss.perceptual", "0.1", "--loss.adversarial", "0.1", "--loss.discriminator-start", "0",
        "--discriminator.width", "8", "--validate-every", "6", "--save-every", "6",
    )  # fmt: skip
    bundle = train(deep, tmp_path / "run", *seen, *losses)
    said = capsys.readouterr().out
    assert "of 4 channels (float32 from 0 to 1, uint16 from 0 to 65,535)" in said
    rows = [json.loads(row) for row in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert {"perceptual", "adversarial", "discriminator"} <= set().union(*rows)
    assert any("validation_psnr" in row for row in rows)
    samples = sorted((tmp_path / "run/samples").glob("*.png"))
    assert Image.open(samples[-1]).mode == "RGB"

    tokenizer = Tokenizer.from_pretrained(bundle)
    assert (tokenizer.config.channels, tokenizer.config.perceptual_channels) == (4, (3, 2, 1))
    files = sorted((deep / "test").glob("*.npy"))
    pictures = [array_to_tensor(read_array(file))[None] for file in files]
    values = []
    for picture in pictures:
        decoded = tokenizer.decode(tokenizer.encode(picture))
        assert decoded.shape == picture.shape == (1, 4, 40, 48)
        assert torch.equal(tokenizer.reconstruct(picture), decoded)
        values.append(float(psnr(picture, decoded)))
    report = evaluated(bundle, deep, tmp_path / "report.json", "--robustness", "--batch", "2")
    assert report["psnr"] == pytest.approx(np.mean(values), abs=1e-5)
    assert (report["channels"], report["perceptual_channels"]) == (4, [3, 2, 1])
    card = (bundle / "README.md").read_text()
    assert "for pictures of 4 channels, of any size" in card
    assert "see the channels 3 2 1 as red, green and blue" in card
    with np.load(bundle / "atlas.npz") as atlas:
        painted = atlas["paints"]
    assert painted.shape == (32, 4, 4, 3)
    paint = tokenizer.decode(torch.full((1, 5, 5), 7))[0, :, 8:12, 8:12]
    shown = ((paint[[2, 1, 0]] + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8).numpy()
    np.testing.assert_array_equal(painted[7], shown)


def test_sixteen_bit_tiffs_of_one_channel(gray: Path, tmp_path: Path) -> None:
    bundle = train(gray, tmp_path / "run", "--tokenizer.channels", "1", steps=60)
    tokenizer = Tokenizer.from_pretrained(bundle)
    assert tokenizer.channels == 1
    file = gray / "test/0.tif"
    picture = array_to_tensor(read_array(file))[None]
    levels = np.asarray(Image.open(file), dtype=np.float64)
    np.testing.assert_allclose(picture[0, 0], levels / 32767.5 - 1, atol=1e-6)
    assert len(np.unique(picture)) > 256  # more than 8 bits hold
    painted = tokenizer.reconstruct(picture)
    middle = torch.full_like(picture, float(picture.mean()))
    assert float(psnr(picture, painted)) > float(psnr(picture, middle)) + 1  # it has learned
    report = evaluated(bundle, gray, tmp_path / "report.json")
    assert report["images"] == 3
    flags = ["--checkpoint", str(bundle), "--data.name", "folder", "--data.root", str(gray)]
    patches.main(flags)
    encode.main([*flags, "--data.size", "32", "--out", str(tmp_path / "tokens")])


RECIPE = """
from regvq.priors import MaskedConfig
from train.config.base import PicturesConfig
from train.config.prior import PriorRunConfig


def tiny():
    prior = MaskedConfig(width=16, layers=1, heads=2)
    return PriorRunConfig(prior=prior, data=PicturesConfig(name="folder", size=32, workers=0))
"""


def test_a_prior_of_four_channels(deep: Path, tmp_path: Path) -> None:
    bundle = train(deep, tmp_path / "run", "--tokenizer.channels", "4", steps=2)
    (tmp_path / "recipe.py").write_text(RECIPE)
    flags = ["--tokenizer", bundle, "--data.root", deep, "--steps", "2", "--batch", "2"]
    recipe = f"{tmp_path / 'recipe.py'}:tiny"
    prior = run.main([recipe, *map(str, flags), "--out", str(tmp_path / "prior")])
    samples = sorted((tmp_path / "prior/samples").glob("*.png"))
    assert Image.open(samples[-1]).mode == "RGB"
    report = evaluated(prior, deep, tmp_path / "report.json", "--limit", "2")
    assert report["pictures"] == 2


def test_held_out_squares_keep_16_bits(gray: Path) -> None:
    data = open_dataset("folder", gray, size=32, split="test", channels=1)
    squares = HeldOut(data, 32, [0, 1])
    first, again = list(squares), list(squares)  # read, then kept
    for index, (a, b) in enumerate(zip(first, again, strict=True)):
        assert torch.equal(a, b)
        assert torch.equal(a, center(data[index], 32).image)
        assert len(a.unique()) > 256


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "0.npy has 4 channels, but 3 are expected; set channels to 4 (--tokenizer.channels 4"),
        (("--tokenizer.channels", "1"), "0.npy has 4 channels, but 1 is expected"),
        (("--tokenizer.channels", "0"), "tokenizer.channels must be a whole number from 1 to 16"),
        (("--tokenizer.channels", "17"), "tokenizer.channels must be a whole number from 1 to 16"),
        (
            ("--tokenizer.channels", "4", "--tokenizer.perceptual-channels", "3", "2", "5"),
            "tokenizer.perceptual_channels must name one or three channels from 1 to 4, got",
        ),
        (
            ("--tokenizer.channels", "4", "--data.name", "scenes", "--data.root", "None"),
            "the pictures of the data set 'scenes' have 3 channels and not 4; set channels to 3",
        ),
    ],
)
def test_other_channels_than_those_of_the_data_are_refused_in_a_line(
    deep: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    words: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        train(deep, tmp_path / "run", *flags)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert said.count("\n") == 0


def test_codecs_and_text_need_color(
    gray: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = train(gray, tmp_path / "run", "--tokenizer.channels", "1", steps=1)
    with pytest.raises(SystemExit):
        evaluated(bundle, gray, tmp_path / "report.json", "--codecs")
    assert "--codecs and --text need pictures of 3 channels; those of" in capsys.readouterr().err

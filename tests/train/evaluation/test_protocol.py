"""train/evaluate.py: the value of one small evaluation, its protocol, FID, LPIPS and publishing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from urllib.error import URLError

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from core.bundles.bundle import find_bundle
from core.data.scenes import Scenes
from core.metrics.comparison import as_shown
from core.metrics.lpips import load_lpips
from core.metrics.reconstruction import evaluate_tokenizer
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers import pretrained_weights
from tests.train.test_evaluate import frechet, run_here


def waves(tokenizer: Tokenizer) -> Tokenizer:
    """Set weights by formula: they do not depend on a version's random generator."""
    state = tokenizer.state_dict()
    for index, (name, weight) in enumerate(sorted(state.items())):
        line = torch.arange(weight.numel(), dtype=torch.float64)
        wave = torch.sin(1 + index + 0.7 * line * (1 + line / 997)).view(weight.shape).float()
        if name.startswith("quantizer.codes"):
            state[name] = wave
        elif weight.ndim > 1:
            state[name] = wave * math.sqrt(6 / weight[0].numel())
        elif name.endswith("bias"):
            state[name] = 0.1 * wave
    tokenizer.load_state_dict(state)
    return tokenizer.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = waves(Tokenizer(TokenizerConfig(network, VQConfig(size=24))))
    return tokenizer.save_pretrained(tmp_path_factory.mktemp("bundles") / "waves").path


def test_figures_of_one_small_evaluation_do_not_change(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "report.json"
    code, _, said = run_here(
        capsys,
        monkeypatch,
        "--checkpoint",
        checkpoint,
        "--data.name",
        "scenes",
        "--data.size",
        32,
        "--features.name",
        "none",
        "--limit",
        6,
        "--device",
        "cpu",
        "--out",
        out,
    )
    assert code == 0, said
    report = json.loads(out.read_text())
    # Measured once. Another value means that the protocol (or the scenes) changed, and that figures
    # before and after the change must not be compared.
    # Pillow draws the scenes, and its versions before 12 draw them a little differently.
    recent = int(PIL.__version__.split(".")[0]) >= 12
    psnr, ssim, perplexity = (7.5373, 0.012138, 15.874) if recent else (7.5396, 0.012456, 15.894)
    assert report["psnr"] == pytest.approx(psnr, abs=2e-3)
    assert report["ssim"] == pytest.approx(ssim, abs=1e-4)
    assert report["utilization"] == pytest.approx(21 / 24)
    assert report["perplexity"] == pytest.approx(perplexity, abs=0.02)
    assert report["tokens"] == 6 * 64 and report["bits_per_token"] == pytest.approx(math.log2(24))
    said = report["protocol"]
    assert said["pictures"] == (
        "6 of the 5000 of scenes, split test, spread evenly; drawn at 32 x 32 pixels"
    )
    assert "384 tokens" in said["usage"] and "argmax" in said["reconstruction"]


@pytest.mark.slow
def test_rfid_and_lpips_on_files_of_weights(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "report.json"
    folder.mkdir()
    scenes = Scenes(size=64, split="val", length=3)
    for index in range(3):
        Image.fromarray(scenes.picture(index)).crop((0, 0, 64, 40)).save(folder / f"{index}.png")
    features = pretrained_weights.inception(tmp_path / "inception.pth")
    pretrained_weights.alex(tmp_path / "alex.safetensors")
    code, printed, said = run_here(
        capsys,
        monkeypatch,
        "--checkpoint",
        checkpoint,
        "--data.name",
        "folder",
        "--data.root",
        folder,
        "--data.square",
        32,
        "--features.name",
        "none",
        "--fid",
        "--fid-weights",
        tmp_path / "inception.pth",
        "--lpips",
        "alex",
        "--lpips-weights",
        tmp_path / "alex.safetensors",
        "--device",
        "cpu",
        "--out",
        out,
    )
    assert code == 0, said
    report = json.loads(out.read_text())

    tokenizer = Tokenizer.from_pretrained(checkpoint)
    pictures = [Image.open(folder / f"{index}.png").crop((12, 0, 52, 40)) for index in range(3)]
    pixels = np.stack([np.asarray(p.resize((32, 32), Image.Resampling.LANCZOS)) for p in pictures])
    images = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2) / 127.5 - 1
    painted = as_shown(tokenizer.reconstruct(images))
    seen = [features(((x + 1) * 127.5).round().byte())[0].double() for x in (images, painted)]
    expected = frechet(*(x.numpy() for x in seen))
    assert expected > 0.1, "a figure of nearly zero would equal any other"
    # Figures on random weights have their own names: they are never rFID or LPIPS.
    assert report["inception_fd"] == pytest.approx(expected, rel=1e-3, abs=0)
    lpips = load_lpips("alex", tmp_path / "alex.safetensors")
    apart = float(lpips(images, painted).mean())
    assert apart > 1e-4
    assert report["alex_weighted_distance"] == pytest.approx(apart, rel=1e-3, abs=0)
    assert not {"rfid", "fid", "lpips_alex"} & set(report)
    assert report["data"]["square"] == 32
    assert "center squares, resized to 32 x 32" in report["protocol"]["pictures"]
    said = report["protocol"]["inception_fd"]
    assert "inception.pth, not the published" in said and "299 x 299" in said and "3 pict" in said
    assert f"{report['inception_fd']:.4f}" in printed and "alex weighted distance" in printed


class Named:
    """A stand-in for features on published weights."""

    published, label = True, "Stand-in"

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, images: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
        if others is None:
            return images.mean((2, 3))
        return (images - others).abs().mean((1, 2, 3))


def test_only_published_weights_give_rfid_and_lpips_their_names(checkpoint: Path) -> None:
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    figures = evaluate_tokenizer(
        Tokenizer.from_pretrained(checkpoint),
        list(images),
        lpips=Named("lpips_vgg"),
        inception=Named("fid"),
        codecs=True,
    )
    assert figures["features_of"] == {"lpips_vgg": "Stand-in", "rfid": "Stand-in"}
    for row in (figures, *figures["codecs"].values()):
        assert row["rfid"] > 0 and row["lpips_vgg"] > 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--fid",), "weights-inception-2015-12-05-6726825d.pth"),
        (("--lpips", "vgg"), "vgg16-397923af.pth"),
        (("--fid-weights", "x.pth"), "--fid-weights needs --fid"),
        (("--lpips-weights", "x.pth"), "--lpips-weights needs --lpips"),
        (("--fid", "--fid-weights", "x.pth"), "x.pth does not exist"),
        (("--data.square", 0), "--data.square must be 1 or more"),
    ],
)
def test_unmeasurable_figures_get_one_line_and_exit_code_2(
    flags: tuple[object, ...],
    named: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*arguments: object, **settings: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    code, _, said = run_here(
        capsys,
        monkeypatch,
        "--checkpoint",
        checkpoint,
        "--data.name",
        "scenes",
        "--features.name",
        "none",
        *flags,
        "--out",
        tmp_path / "report.json",
    )
    assert code == 2
    assert said.startswith("error: ") and said.count("\n") == 1 and named in said, said


def test_an_exact_copy_is_published_with_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PSNR of an exact copy is infinite: a decoder of mid-gray, on mid-gray pictures."""
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=24))).eval()
    state = tokenizer.state_dict()
    state["decoder.to_pixels.weight"].zero_()
    state["decoder.to_pixels.bias"].fill_(1 / 255)  # 128 of 255
    tokenizer.load_state_dict(state)
    bundle = tokenizer.save_pretrained(tmp_path / "gray", recipe={"steps": 1})
    folder, out = tmp_path / "photos", tmp_path / "report.json"
    folder.mkdir()
    for index in range(2):
        Image.new("RGB", (16, 16), (128, 128, 128)).save(folder / f"{index}.png")
    for _ in range(2):  # the second card is written from the JSON of the first
        code, printed, said = run_here(
            capsys,
            monkeypatch,
            "--checkpoint",
            bundle.path,
            "--data.name",
            "folder",
            "--data.root",
            folder,
            "--features.name",
            "none",
            "--publish",
            "--codecs",
            "--device",
            "cpu",
            "--out",
            out,
        )
        assert code == 0, said
        assert json.loads(out.read_text(), parse_constant=pytest.fail)["psnr"] is None
        published = find_bundle(bundle.path)
        text = (published.path / "metrics.json").read_text()
        assert json.loads(text, parse_constant=pytest.fail)["psnr"] is None
        assert "| PSNR, mean over pictures | ∞ (exact copies) |" in published.card
        assert " | ∞ (exact copies) | 1.0000 |" in published.card  # the row of the tokens
        assert "inf" in printed

"""train/evaluate.py: figures compared with independent computations, and errors."""

from __future__ import annotations

import json
import math
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage.metrics import structural_similarity

from core.checkpoints import load_tokenizer
from core.images import open_picture, to_tensor
from core.metrics.reconstruction import evaluate_tokenizer
from core.networks.autoencoder import NetworkConfig
from core.networks.features import load_features
from core.paths import ROOT
from core.quantizers import LevelsConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers import fresh

TRAIN = ROOT / "train"
SIZES = [(48, 40), (48, 40), (45, 51)]  # width, height; 4 does not divide the last


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=24))).eval()
    return tokenizer.save_pretrained(tmp_path_factory.mktemp("bundles") / "tiny").path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "some photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, size in enumerate(SIZES):
        coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random SqueezeNet weights: their figures mean nothing but are reproducible."""
    from torchvision.models import squeezenet1_1

    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(squeezenet1_1(weights=None).features.state_dict(), file)
    return file


def command(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return fresh.run([TRAIN / "evaluate.py", *arguments], folder)  # it works in any folder


def run_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    """Run evaluate.py in this process and return its exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    monkeypatch.syspath_prepend(str(TRAIN))  # as `python train/evaluate.py` does
    code = 0
    try:
        runpy.run_path(str(TRAIN / "evaluate.py"), run_name="__main__")
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        for name in ("errors", "project_root"):
            sys.modules.pop(name, None)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_plain_folder_can_replace_a_named_data_set(
    checkpoint: Path, pictures: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    code, said, _ = run_here(
        capsys,
        monkeypatch,
        "--checkpoint",
        checkpoint,
        "--data.name",
        "ade20k",
        "--data.root",
        pictures,
        "--features.name",
        "none",
        "--device",
        "cpu",
        "--out",
        tmp_path / "report.json",
    )
    assert code == 0
    assert "is not laid out as 'ade20k': it is read as a plain folder of pictures" in said
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"]["name"] == "folder" and report["images"] == 3


@pytest.mark.slow
def test_figures_on_a_folder_are_those_computed_by_hand(
    checkpoint: Path, pictures: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "report.json"
    done = command(
        "--checkpoint",
        checkpoint,
        "--data.name",
        "folder",
        "--data.root",
        pictures,
        "--features.weights",
        weights,
        "--codecs",
        "--batch",
        2,
        "--device",
        "cpu",
        "--out",
        out,
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())

    tokenizer = Tokenizer.from_pretrained(checkpoint)
    features = load_features("squeezenet", weights)
    counts, psnrs, ssims, pooled, distances = np.zeros(24), [], [], ([], []), []
    for index in range(3):
        pixels = np.asarray(Image.open(pictures / f"{index}.png"))
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        np.add.at(counts, tokenizer.encode(image).flatten().numpy(), 1)
        painted = ((tokenizer.reconstruct(image)[0] + 1) * 127.5).round().permute(1, 2, 0).numpy()
        x, y = pixels / 255.0, painted.astype(float) / 255
        psnrs.append(10 * math.log10(1 / np.mean((x - y) ** 2)))
        ssims.append(
            structural_similarity(
                x,
                y,
                data_range=1,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )
        shown = torch.from_numpy(painted).permute(2, 0, 1)[None].float() / 127.5 - 1
        layers = []
        for a, b in zip(features(image), features(shown), strict=True):
            a, b = a[0].double().numpy(), b[0].double().numpy()
            unit_a, unit_b = (v / np.maximum(np.linalg.norm(v, axis=0), 1e-9) for v in (a, b))
            layers.append(np.sum((unit_a - unit_b) ** 2, axis=0).mean())
        distances.append(np.mean(layers))
        pooled[0].append(a.mean(axis=(1, 2)))
        pooled[1].append(b.mean(axis=(1, 2)))

    share = counts[counts > 0] / counts.sum()
    assert report["images"] == 3
    assert report["tokens"] == counts.sum() == 2 * 12 * 10 + 12 * 13
    assert report["codebook_size"] == 24
    assert report["codes_used"] == len(share)
    assert report["utilization"] == pytest.approx(len(share) / 24)
    assert report["perplexity"] == pytest.approx(math.exp(-np.sum(share * np.log(share))))
    assert report["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-4)
    assert report["ssim"] == pytest.approx(np.mean(ssims), abs=1e-5)
    assert report["squeezenet_distance"] == pytest.approx(np.mean(distances), rel=1e-3)
    assert report["squeezenet_fd"] == pytest.approx(frechet(*map(np.array, pooled)), rel=1e-2)
    assert report["features"] == "SqueezeNet 1.1 (weights file random.safetensors)"
    assert report["bits_per_pixel"] == pytest.approx(
        396 * math.log2(24) / sum(width * height for width, height in SIZES)
    )
    assert report["bytes"] == pytest.approx((2 * 69 + 90) / 3)  # 120 and 156 tokens of 4.58 bits
    assert {"jpeg_smallest", "jpeg", "webp"} <= set(report["codecs"])
    assert all(row["bytes"] > 69 for row in report["codecs"].values())
    assert report["checkpoint"] == "tiny"
    assert report["data"] == {"name": "folder", "root": "some photos", "split": "test"}
    assert report["skipped"] == 0
    # Reports are published: they hold no path of this machine.
    assert str(pictures.parent) not in out.read_text() and str(tmp_path) not in out.read_text()
    assert sorted(path.name for path in out.parent.iterdir()) == ["report.json"]
    # The printed figures are those of the report.
    row = next(line for line in done.stdout.splitlines() if line.startswith("tokens"))
    assert f"{report['psnr']:.2f}" in row and f"{report['squeezenet_distance']:.4f}" in row
    assert f"{len(share)} of 24 codes used" in done.stdout
    assert "3/3" in done.stderr  # the bar


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Return the Fréchet distance of few samples by singular values (see tests/core/metrics)."""
    cx, cy = ((rows - rows.mean(axis=0)) / math.sqrt(len(rows) - 1) for rows in (x, y))
    root = np.linalg.svd(cx @ cy.T, compute_uv=False).sum()
    apart = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    return float(apart + np.square(cx).sum() + np.square(cy).sum() - 2 * root)


def test_scenes_need_no_files_and_limit_takes_some(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "report.json"
    code, printed, said = run_here(
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
        5,
        "--out",
        out,
    )
    assert code == 0, said
    report = json.loads(out.read_text())
    assert report["images"] == 5 and report["tokens"] == 5 * 64
    assert report["data"] == {"name": "scenes", "root": None, "split": "test", "size": 32}
    assert not [key for key in report if "distance" in key or key.endswith("_fd")]
    assert "features" not in report and "codecs" not in report
    assert "within budget" not in printed


def test_stretched_pictures_are_stated_and_measured(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, out = tmp_path / "wide", tmp_path / "report.json"
    root.mkdir()
    Image.effect_noise((64, 32), 40).convert("RGB").save(root / "one.png")
    for stretch, tokens in ((False, 16 * 8), (True, 8 * 8)):
        given = ("--checkpoint", checkpoint, "--data.name", "folder", "--data.root", root,
                 "--features.name", "none", "--out", out)  # fmt: skip
        stretched = ("--data.stretch",) * stretch
        assert run_here(capsys, monkeypatch, *given, *stretched)[0] == 0
        report = json.loads(out.read_text())
        assert report["tokens"] == tokens and report["data"].get("stretch", False) == stretch
        assert ("stretched to squares" in report["protocol"]["pictures"]) == stretch


def test_a_broken_picture_is_skipped_named_and_counted(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(120):  # 1 of 120 is below the 1 % above which a folder is refused
        Image.new("RGB", (8, 8), (index, 2 * index, 90)).save(folder / f"{index:03d}.png")
    (folder / "050.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    out = tmp_path / "report.json"
    code, printed, said = run_here(
        capsys,
        monkeypatch,
        "--checkpoint",
        checkpoint,
        "--data.name",
        "folder",
        "--data.root",
        folder,
        "--features.name",
        "none",
        "--out",
        out,
    )
    assert code == 0, said
    report = json.loads(out.read_text())
    assert (report["images"], report["skipped"]) == (119, 1)
    assert "skipped: 050.png" in printed


MISTAKES = {
    "no such checkpoint": ("--checkpoint {tmp}/nowhere --data.name scenes", "nowhere"),
    "a folder that is no checkpoint": ("--checkpoint {tmp} --data.name scenes", "config.json"),
    "an unknown data set": ("--checkpoint {tiny} --data.name imagenet21k", "'imagenet21k'"),
    "an empty folder": ("--checkpoint {tiny} --data.name folder --data.root {tmp}", "no pictures"),
    "no root": ("--checkpoint {tiny} --data.name folder", "root"),
    "no such folder": ("--checkpoint {tiny} --data.name folder --data.root {tmp}/gone", "gone"),
    "no such weights": (
        "--checkpoint {tiny} --data.name scenes --features.name squeezenet "
        "--features.weights {tmp}/w.npz",
        "w.npz",
    ),
    "a device that is not there": (
        "--checkpoint {tiny} --data.name scenes --device warp", "--device warp"
    ),
    "a limit of nothing": ("--checkpoint {tiny} --data.name scenes --limit 0", "--limit"),
    "an unknown flag": ("--checkpoint {tiny} --data.name scenes --data.sice 9", "--data.sice"),
    "a flag that is missing": ("--checkpoint {tiny}", "--data.name"),
    "an unknown choice": (
        "--checkpoint {tiny} --data.name scenes --features.name resnet", "resnet"
    ),
    "weights of LPIPS without a network": (
        "--checkpoint {tiny} --data.name scenes --lpips-weights {tmp}/w.pth", "needs --lpips"
    ),
    "fewer weights than networks": (
        "--checkpoint {tiny} --data.name scenes --lpips alex vgg --lpips-weights {tmp}/w.pth",
        "a file for each of alex, vgg",
    ),
    "a network twice": (
        "--checkpoint {tiny} --data.name scenes --lpips alex alex", "names a network twice"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(
    mistake: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags, named = MISTAKES[mistake]
    out = tmp_path / "report.json"
    code, _, said = run_here(
        capsys,
        monkeypatch,
        *(flag.format(tmp=tmp_path, tiny=checkpoint) for flag in flags.split()),
        "--out",
        out,
    )
    assert code == 2
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert named in said
    assert not out.exists()


def test_a_report_that_cannot_be_written_is_noticed_before_the_work(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    for out, named in [(tmp_path, "is a folder"), (tmp_path / "file" / "r.json", "file")]:
        code, _, said = run_here(
            capsys, monkeypatch, "--checkpoint", checkpoint, "--data.name", "scenes", "--out", out
        )
        assert code == 2 and named in said
        assert said.count("\n") == 1 and "evaluating" not in said


def test_the_command_itself_refuses_and_helps(tmp_path: Path) -> None:
    refused = command("--chekpoint", "x", folder=tmp_path)
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
    assert "--chekpoint" in refused.stderr and "--help" in refused.stderr
    helped = command("--help", folder=tmp_path)
    assert helped.returncode == 0
    for flag in (
        "--data.name",
        "--data.root",
        "--data.square",
        "--features.weights",
        "--codecs",
        "--out",
        "--fid",
        "--fid-weights",
        "--lpips",
        "--lpips-weights",
    ):
        assert flag in helped.stdout


def test_without_features_an_evaluation_goes_on_and_says_so(
    checkpoint: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*arguments: object, **settings: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    out = tmp_path / "report.json"
    flags = f"--checkpoint {checkpoint} --data.name folder --out {out}".split()
    code, printed, said = run_here(capsys, monkeypatch, *flags, "--data.root", pictures)
    assert code == 0, said
    assert "WARNING: torchvision's SqueezeNet 1.1 weights are not in its cache" in printed
    assert "without distances on these features" in printed
    report = json.loads(out.read_text())
    assert report["psnr"] > 0 and "features" not in report
    assert not any(key.endswith(("_distance", "_fd")) for key in report)


def test_lpips_on_several_networks_in_one_report(
    checkpoint: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torchvision.models import alexnet, squeezenet1_1

    files = {}
    for name, network in (("squeeze", squeezenet1_1), ("alex", alexnet)):
        torch.manual_seed(2)
        state = network(weights=None).features.state_dict()
        files[name] = tmp_path / f"{name}.safetensors"
        save_file({f"features.{key}": value for key, value in state.items()}, files[name])
    out = tmp_path / "report.json"
    flags = (
        f"--checkpoint {checkpoint} --data.name folder --features.name none --out {out} "
        f"--lpips squeeze alex --lpips-weights {files['squeeze']} {files['alex']}"
    ).split()
    code, _, said = run_here(capsys, monkeypatch, *flags, "--data.root", pictures)
    assert code == 0, said
    report = json.loads(out.read_text())
    assert report["features_of"].keys() == {"squeeze_weighted_distance", "alex_weighted_distance"}
    assert "squeeze.safetensors" in report["features_of"]["squeeze_weighted_distance"]
    assert 0 < report["squeeze_weighted_distance"] != report["alex_weighted_distance"] > 0


def test_text_and_robustness_are_in_the_report_the_table_and_the_card(
    checkpoint: Path, pictures: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    bundle = shutil.copytree(checkpoint, tmp_path / "tiny")
    monkeypatch.setattr("core.metrics.text_reading.load_reader", lambda: lambda _: "coffee")
    out = tmp_path / "report.json"
    flags = ["--checkpoint", bundle, "--data.name", "folder", "--data.root", pictures, "--out", out,
             "--features.name", "none", "--device", "cpu"]  # fmt: skip
    code, said, _ = run_here(capsys, monkeypatch, *flags, "--text", "--robustness", "--publish")
    assert code == 0
    report = json.loads(out.read_text())
    rows = report["robustness"]["rows"]
    assert [row["share"] for row in rows] == [0.0, 0.1, 0.25, 0.5]
    assert rows[0]["psnr"] == pytest.approx(report["psnr"]) and rows[3]["psnr"] != rows[0]["psnr"]
    assert [row["height"] for row in report["text"]["rows"]] == [12, 16, 24, 32]
    letters = report["text"]["rows"][0]["characters"]
    assert 0.1 < letters < 0.5  # what "coffee" has in common with lines of three words
    assert {"text", "robustness"} <= report["protocol"].keys()
    assert re.search(rf" 12 pixels  characters +{letters:.0%} \({letters:.0%}\)", said)
    assert re.search(rf"    50%  +{rows[3]['psnr']:.2f}  +{rows[3]['ssim']:.4f}", said)
    card = (bundle / "README.md").read_text()
    assert f"| 12 pixels | {letters:.0%} |" in card
    assert f"| 50% | {rows[3]['psnr']:.2f} dB | {rows[3]['ssim']:.4f} |" in card
    assert json.loads((bundle / "metrics.json").read_text())["text"] == report["text"]


def test_robustness_can_be_measured_on_some_of_the_pictures(
    checkpoint: Path, pictures: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    bundle = shutil.copytree(checkpoint, tmp_path / "tiny")
    out = tmp_path / "report.json"
    flags = ["--checkpoint", bundle, "--data.name", "folder", "--data.root", pictures, "--out", out,
             "--features.name", "none", "--device", "cpu", "--robustness-limit", "1"]  # fmt: skip
    code, _, said = run_here(capsys, monkeypatch, *flags)
    assert code == 2 and said == "error: --robustness-limit needs --robustness\n"
    code, _, said = run_here(capsys, monkeypatch, *flags, "--robustness", "--publish")
    assert code == 0, said
    report = json.loads(out.read_text())
    assert report["images"] == 3 and report["robustness"]["images"] == 1
    first = to_tensor(open_picture(pictures / "0.png"))
    alone = evaluate_tokenizer(load_tokenizer(bundle), [first])
    assert report["robustness"]["rows"][0]["psnr"] == pytest.approx(alone["psnr"])
    assert report["protocol"]["robustness"].endswith("against the 1 pictures")
    card = (bundle / "README.md").read_text()
    assert "one of the 10 nearest codes of each, on 1 of the pictures:" in card


@pytest.mark.parametrize("package", ["rapidocr", "onnxruntime"])
def test_text_without_ocr_is_refused_in_a_sentence(
    package: str, checkpoint: Path, pictures: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    flags = ["--checkpoint", checkpoint, "--data.name", "folder", "--data.root", pictures, "--out",
             tmp_path / "report.json", "--features.name", "none"]  # fmt: skip
    code, _, errors = run_here(capsys, monkeypatch, *flags, "--text")
    assert code == 2
    assert errors.strip().splitlines()[-1] == (
        "error: Reading text needs the packages rapidocr and onnxruntime: pip install rapidocr "
        "onnxruntime."
    )


def test_a_report_of_levels_counts_each(pictures: Path, tmp_path: Path, capsys, monkeypatch):
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    config = TokenizerConfig(network, VQConfig(size=24), levels=LevelsConfig(residual=2))
    bundle = Tokenizer(config).eval().save_pretrained(tmp_path / "levels").path
    flags = [
        *("--checkpoint", bundle, "--data.name", "folder", "--data.root", pictures),
        *("--features.name", "none", "--device", "cpu", "--out", tmp_path / "report.json"),
    ]
    code, said, _ = run_here(capsys, monkeypatch, *flags, "--publish")
    assert code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    tokens = 2 * (2 * 12 * 10 + 12 * 13)
    assert (report["levels"], report["tokens"]) == (2, tokens)
    assert len(report["per_level"]) == 2
    assert f"{report['codes_used']} of 48 codes used" in said
    second = report["per_level"][1]
    assert f"level 2: {second['codes_used']} of 24 codes used" in said
    assert "| 2 |" in (bundle / "README.md").read_text()
    code, _, error = run_here(capsys, monkeypatch, *flags, "--robustness")
    assert code == 2
    assert "near codes of a single codebook, but levels has 2 levels; leave it out" in error

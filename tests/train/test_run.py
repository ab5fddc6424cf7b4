"""``python train/run.py`` with correct and with wrong arguments."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.bundles.bundle import find_bundle, list_bundles
from core.checkpoints import load_tokenizer
from core.paths import ROOT
from tests.helpers import fresh
from tests.helpers import published_layouts as made
from tests.helpers.odd_pictures import write_all
from tests.helpers.web_server import serve
from train.recipes import NAMES

RUN = ROOT / "train" / "run.py"
TINY = (
    "--tokenizer.network.widths", "8", "16", "--tokenizer.network.decoder-widths", "None",
    "--tokenizer.network.encoder-blocks", "1",
    "--tokenizer.network.decoder-blocks", "1", "--tokenizer.network.latent-dim", "4",
    "--tokenizer.quantizer.size", "32", "--batch", "2", "--data.size", "32",
    "--data.workers", "0", "--features.name", "none", "--loss.perceptual", "0",
    "--loss.adversarial", "0",
)  # fmt: skip
TINY_VQGAN = (  # the same, of the other network
    "--tokenizer.network.widths", "8", "16", "--tokenizer.network.blocks", "1",
    "--tokenizer.network.groups", "4", "--tokenizer.network.z-channels", "4", *TINY[7:],
)  # fmt: skip
MISSING = ("--features.weights", "missing.npz")
PIXELS_ONLY = (
    "--features.name", "none", "--loss.perceptual", "0", "--loss.contrastive", "none",
)  # fmt: skip


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return fresh.run([RUN, *arguments], folder)


def folder_of(tmp_path: Path, count: int = 6) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for index in range(count):
        pixels = draw.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return folder


@pytest.mark.slow
def test_a_folder_of_pictures_becomes_a_listed_checkpoint(tmp_path):
    pictures = folder_of(tmp_path)
    none = ("--loss.contrastive", "none")
    done = run(
        tmp_path,
        "photos-regvq",
        "--data.root",
        pictures,
        "--steps",
        2,
        "--out",
        "mine/first",
        *TINY,
        *none,
    )
    assert done.returncode == 0, done.stderr
    assert "the checkpoint is mine/first/bundle" in done.stdout
    assert [bundle.name for bundle in list_bundles(tmp_path / "mine")] == ["first"]
    bundle = find_bundle(tmp_path / "mine/first")
    assert load_tokenizer(bundle).codebook_size == 32
    assert bundle.config["recipe"]["name"] == "photos-regvq"
    assert "python train/run.py photos-regvq --data.root DIR --steps 2" in bundle.card

    # The same command resumes the run; other settings are refused by name.
    more = run(
        tmp_path,
        "photos-regvq",
        "--data.root",
        pictures,
        "--steps",
        3,
        "--out",
        "mine/first",
        *TINY,
        *none,
    )
    assert more.returncode == 0, more.stderr
    assert find_bundle(tmp_path / "mine/first").metrics["step"] == 3
    other = run(
        tmp_path,
        "photos-regvq",
        "--data.root",
        pictures,
        "--steps",
        3,
        "--out",
        "mine/first",
        *TINY,
        *none,
        "--optimizer.lr",
        "0.1",
    )
    assert other.returncode == 2
    assert other.stderr.strip().endswith(
        "mine/first holds a run with another optimizer.lr; choose another --out, "
        "or the same settings to resume it."
    )


def test_help_names_the_recipes(tmp_path):
    said = run(tmp_path, "--help")
    assert said.returncode == 0
    for name in NAMES:
        assert name in said.stdout
    flags = run(tmp_path, "photos-regvq", "--help").stdout
    for flag in ("--data.root", "--steps", "--out", "--seed", "--tokenizer.quantizer.mask-ratio"):
        assert flag in flags
    assert "--recipe" not in flags


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("photos-regvq",), "name a folder with --data.root"),
        (("photos-vq", "--data.root", "nowhere"), "nowhere"),
        (("photos-vq", "--data.root", "empty"), "holds no pictures"),
        (("photos-vq", "--data.root", "file.txt"), "file.txt"),
        (
            ("photos-vq", "--data.root", "one", *PIXELS_ONLY),
            "one holds 1 picture, fewer than the 24 of one step; give more pictures, or choose "
            "--batch 1.",
        ),
        (("photos-mq",), "photos-mq"),
        (("ade20k-regvq", "--data.root", "half"), "is not laid out as 'ade20k'"),
        (("imagenet128-simvq-65k", "--data.root", "empty"), "is not laid out as 'imagenet'"),
        (("scenes-vq", "--stepps", "3"), "--steps"),
        (("scenes-vq", "--steps", "many"), "steps"),
        (("scenes-vq", "--steps", "0"), "steps must be at least 1"),
        (("scenes-vq", "--data.size", "62"), "multiple of 4"),
        (("scenes-vq", "--data.name", "imagenet"), "imagenet"),
        (("scenes-regvq", "--tokenizer.quantizer.mask-ratio", "2"), "mask_ratio"),
        (("scenes-vq", "--loss.perceptual", "1"), "features"),
        (
            ("photos-vq", "--data.root", "one", "--batch", "1", *MISSING),
            "missing.npz does not exist",
        ),
        (("scenes-vq", "--train-only", "decoder"), "set init"),
        (("scenes-vq", "--init", "nothing"), "nothing does not exist"),
        (("scenes-vq", "--init", "empty"), "empty is not a checkpoint"),
        (("scenes-vq", "--init", "checkpoints/photos-regvq"), "its quantizer is a Regularized"),
    ],
)
def test_mistakes_get_one_line(tmp_path, arguments, words, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "one").mkdir()
    (tmp_path / "half" / "images" / "training").mkdir(parents=True)
    for folder in ("one", "half/images/training"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / folder / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(RUN.parent))  # as `python train/run.py` does
    from train.run import main

    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_odd_pictures_train_and_broken_ones_stop(tmp_path):
    """Every readable odd file is trained on; a folder of broken ones is refused by name."""
    readable, refused = tmp_path / "readable", tmp_path / "refused"
    for folder, outcome in ((readable, "reads"), (refused, "refused")):
        folder.mkdir()
        write_all(folder, outcome)
    arguments = ("--steps", 4, *TINY, "--loss.contrastive", "none")
    done = run(tmp_path, "photos-regvq", "--data.root", readable, "--out", "a", *arguments)
    assert done.returncode == 0, done.stderr
    assert "skipped" not in done.stdout
    done = run(tmp_path, "photos-regvq", "--data.root", refused, "--out", "b", *arguments)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plain_folder_can_replace_a_named_data_set(tmp_path, capsys, monkeypatch):
    pictures = folder_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(RUN.parent))
    from train.run import main

    none = ("--loss.contrastive", "none")
    arguments = ("imagenet128-simvq-65k", "--data.root", str(pictures), *TINY_VQGAN, *none)
    main([*arguments, "--steps", "1", "--out", "a"])
    said = f"{pictures} is not laid out as 'imagenet': it is read as a plain folder of pictures"
    assert said in capsys.readouterr().out
    bundle = find_bundle(tmp_path / "a")
    assert (
        bundle.config["recipe"]["data"]["name"] == "folder"
    )  # the card names the data that was read
    assert json.loads((tmp_path / "a" / "run.json").read_text())["data"]["name"] == "folder"


def test_streamed_shards_train(tmp_path, capsys, monkeypatch):
    """The root may be an address: a path would merge its two slashes."""
    made.shards(tmp_path / "web")
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.syspath_prepend(str(RUN.parent))
    from train.run import main

    with serve(tmp_path / "web") as server:
        root = f"{server.address}/{{train-000,train-001,val-000}}.tar"
        arguments = ("scenes-vq", "--data.name", "shards", "--data.root", root, "--steps", "1")
        main([*arguments, *TINY, "--out", str(tmp_path / "a")])
    bundle = find_bundle(tmp_path / "a")
    assert bundle.metrics["images"] == 2 and bundle.metrics["data"]["held_out"] is True
    assert json.loads((tmp_path / "a" / "run.json").read_text())["data"]["root"] == root
    assert server.address not in json.dumps(bundle.config) + bundle.card


@pytest.mark.slow
def test_scenes_need_no_files(tmp_path):
    done = run(tmp_path, "scenes-regvq", "--steps", 2, "--out", "s", *TINY)
    assert done.returncode == 0, done.stderr
    card = find_bundle(tmp_path / "s").card
    assert "license: apache-2.0" in card
    assert "held-out" in card

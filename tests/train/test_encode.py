"""train/encode.py and its shards: bytes, resuming, reading and refusals."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.bundles.storage import write_json
from core.checkpoints import load_tokenizer
from core.data import Sample, center, open_dataset
from core.data.segmentation import on_grid
from core.data.token_header import token_dtype
from core.data.token_shards import TokenShards
from core.errors import DataError
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers import published_layouts as made
from train.encode import main

SIZE = 16


def bundle(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=24, start="uniform"))).eval()
    return tokenizer.save_pretrained(folder).path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shards(tmp_path_factory.mktemp("data"))


class Encoder:
    """Runs train/encode.py in this process with small settings."""

    def __init__(
        self, checkpoint: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: object
    ) -> None:
        self.checkpoint, self.root, self.patch, self.capsys = checkpoint, root, monkeypatch, capsys

    def __call__(self, out: Path, *more: object) -> tuple[int, str]:
        flags = ["--checkpoint", self.checkpoint, "--out", out, "--data.name", "shards",
                 "--data.root", self.root, "--data.size", SIZE, "--batch", 3, "--shard", 4,
                 "--device", "cpu"]  # fmt: skip
        for flag, value in zip(more[::2], more[1::2], strict=True):
            if value is True:
                flags.append(flag)
            elif flag in flags:
                flags[flags.index(flag) + 1] = value
            else:
                flags += [flag, value]
        self.patch.setattr(sys, "argv", ["encode.py", *map(str, flags)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, self.capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def encode(
    checkpoint: Path,
    data_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Encoder:
    return Encoder(checkpoint, data_root, monkeypatch, capsys)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_center_squares(encode: Encoder, checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    code, said = encode(tmp_path / "out")
    assert code == 0, said
    tokenizer = load_tokenizer(checkpoint)
    shards = TokenShards(tmp_path / "out", tokenizer.fingerprint)
    data = open_dataset("shards", data_root)
    assert len(shards) == len(data) == 10 and shards.grid == (4, 4)
    assert [int(n) for n in shards.header["rows"]] == [4, 4, 2]
    assert shards.codebook_size == 24 and shards.header["dtype"] == "uint16"
    for index in range(10):
        tokens, item = shards[index], data[index]
        picture = item.image[:, :, 3:21]  # the middle 18x18 of 24x18
        pixels = ((picture.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        small = Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        image = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 127.5 - 1
        assert (tokenizer.encode(image)[0] == tokens.ids).float().mean() > 0.9
        assert tokens.ids.dtype == torch.int64 and tokens.label == index
        assert tokens.caption == f"number {index}" and tokens.captions == (tokens.caption,)
        assert tokens.segmentation.tolist() == [[index, index, 255, 255]] * 4


def test_files(encode: Encoder, tmp_path: Path) -> None:
    encode(tmp_path / "out")
    ids = np.fromfile(tmp_path / "out" / "tokens-00002.bin", "<u2").reshape(2, 4, 4)
    shards = TokenShards(tmp_path / "out")
    assert (ids[1] == shards[9].ids.numpy()).all() and ids.any()
    header = json.loads((tmp_path / "out" / "header.json").read_text())
    assert header["complete"] and header["tokenizer"]["fingerprint"].startswith("sha256:")
    assert str(tmp_path) not in json.dumps(header)
    assert token_dtype(65_536) == "uint16" and token_dtype(65_537) == "uint32"


@pytest.mark.parametrize("augmentations", [0, 3])
def test_a_resumed_encoding_has_the_bytes_of_an_uninterrupted_one(
    encode: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmentations: int
) -> None:
    more = ("--augmentations", augmentations)
    assert encode(tmp_path / "whole", *more)[0] == 0
    real, calls = Tokenizer.encode, []

    def stopping(tokenizer: Tokenizer, images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(tokenizer, images)

    monkeypatch.setattr(Tokenizer, "encode", stopping)
    assert encode(tmp_path / "parts", *more)[0] == 130
    with pytest.raises(DataError, match=r"holds 4 of .* encoding was interrupted"):
        TokenShards(tmp_path / "parts")
    monkeypatch.setattr(Tokenizer, "encode", real)
    (tmp_path / "parts" / "tokens-00001.bin.new").write_bytes(b"half of it")
    assert encode(tmp_path / "parts", *more)[0] == 0
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    monkeypatch.setattr(Tokenizer, "encode", stopping)
    assert encode(tmp_path / "parts", *more)[0] == 0  # nothing is left to encode
    assert len(calls) == 4


def test_augmentations_equal_the_data_sets_draws(
    encode: Encoder, checkpoint: Path, data_root: Path, tmp_path: Path
) -> None:
    encode(tmp_path / "out", "--augmentations", 2, "--data.seed", 5, "--workers", 1)
    shards, tokenizer = TokenShards(tmp_path / "out"), load_tokenizer(checkpoint)
    data = open_dataset("shards", data_root, size=SIZE, seed=5, crop=(0.5, 1.0))
    assert len(shards) == 20
    for row in range(20):
        sample = data.draw(row)
        assert shards[row].label == sample.label
        same = tokenizer.encode(sample.image[None])[0] == shards[row].ids
        assert same.float().mean() > 0.9
        assert torch.equal(shards[row].segmentation, on_grid(sample.segmentation, 4))


def test_stretched_pictures(
    encode: Encoder, checkpoint: Path, data_root: Path, tmp_path: Path
) -> None:
    for name, more in (("whole", ()), ("drawn", ("--augmentations", 2))):
        encode(tmp_path / name, "--data.stretch", True, *more)
        shards, tokenizer = TokenShards(tmp_path / name), load_tokenizer(checkpoint)
        data = open_dataset("shards", data_root, size=SIZE, crop=(0.5, 1.0), stretch=True)
        for row in range(len(shards)):
            sample = data.draw(row) if more else center(data[row], SIZE)
            same = tokenizer.encode(sample.image[None])[0] == shards[row].ids
            assert same.float().mean() > 0.9
        shards.check_run("shards", stretch=True)
        with pytest.raises(DataError, match="that were stretched to squares, but the run crops"):
            shards.check_run("shards")
    encode(tmp_path / "plain")
    with pytest.raises(DataError, match="were not stretched to squares, but the run stretches"):
        TokenShards(tmp_path / "plain").check_run("shards", stretch=True)


def test_draws(encode: Encoder, tmp_path: Path) -> None:
    encode(tmp_path / "out")
    shards = TokenShards(tmp_path / "out", seed=3)
    labels = [shards.draw(k).label for k in range(20)]
    assert sorted(labels[:10]) == sorted(labels[10:]) == list(range(10))
    assert labels[:10] != labels[10:]
    copied = pickle.loads(pickle.dumps(shards))
    assert [copied.draw(k).label for k in reversed(range(20))] == labels[::-1]
    assert len(pickle.dumps(shards)) < 5000
    other = TokenShards(tmp_path / "out", seed=4)
    assert [other.draw(k).label for k in range(10)] != labels[:10]
    with pytest.raises(IndexError):
        shards[10]


def test_all_captions_are_kept_and_drawn(encode: Encoder, tmp_path: Path) -> None:
    root = made.coco(tmp_path / "coco")
    assert encode(tmp_path / "out", "--data.name", "coco", "--data.root", root)[0] == 0
    shards = TokenShards(tmp_path / "out")
    assert shards[1].captions == ("1 0", "1 1") and shards.classes[0] == "person"
    assert {shards.draw(k).caption for k in range(60)} == {
        f"{number} {turn}" for number in range(3) for turn in range(2)
    }


def test_broken_pictures_are_left_out(encode: Encoder, tmp_path: Path) -> None:
    for index in range(120):
        made.save(tmp_path / "many" / f"{index:03d}.png", made.picture(index, (16, 16)))
    (tmp_path / "many" / "050.png").write_bytes(b"nothing")
    flags = ("--data.name", "folder", "--data.root", tmp_path / "many", "--shard", 100)
    assert encode(tmp_path / "out", *flags)[0] == 0
    shards = TokenShards(tmp_path / "out")
    assert len(shards) == 119 and shards.header["skipped"] == 1
    assert shards[0].segmentation is None and shards[0].caption == "" and shards[0].label == -1


def test_another_tokenizer_is_refused(encode: Encoder, checkpoint: Path, tmp_path: Path) -> None:
    encode(tmp_path / "out")
    other = load_tokenizer(bundle(tmp_path / "other", seed=1))
    assert other.fingerprint != load_tokenizer(checkpoint).fingerprint
    with pytest.raises(DataError, match=r"encoded by another tokenizer \(tiny, sha256") as caught:
        TokenShards(tmp_path / "out", other.fingerprint)
    assert "\n" not in str(caught.value)


def test_damaged_shards_are_refused(encode: Encoder, tmp_path: Path) -> None:
    encode(tmp_path / "whole")
    out = tmp_path / "out"
    for name, damage, words in (
        ("tokens-00001.bin", lambda data: data[:-1], "has 127 bytes, not 128"),
        ("segmentation-00000.bin", lambda data: data + b"x", "has 65 bytes, not 64"),
        ("labels-00002.bin", None, "labels-00002.bin is missing"),
        ("captions-00000.jsonl", None, "captions-00000.jsonl is missing"),
        (
            "captions-00001.jsonl",
            lambda data: data[: len(data) // 2],
            "captions-00001.jsonl is",
        ),
        ("tokens-00000.bin", lambda data: b"\xff" * len(data), "tokens-00000.bin is damaged"),
        ("header.json", None, "has no header.json"),
        ("header.json", lambda data: data[:50], "not a header of token shards"),
    ):
        shutil.copytree(tmp_path / "whole", out)
        file = out / name
        file.unlink() if damage is None else file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(DataError) as caught:
            shards = TokenShards(out)
            [shards[i] for i in range(10)]
        assert words in str(caught.value) and "\n" not in str(caught.value)
        shutil.rmtree(out)


def test_shards_of_before_checksums_are_read_with_a_note(encode: Encoder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encode(out)
    header = json.loads((out / "header.json").read_text())
    newer = ("checksums", "sha256", "found")
    older = {k: v for k, v in header.items() if k not in newer} | {"format": 1}
    write_json(out / "header.json", older)
    assert len(TokenShards(out)) == header["rows"][0] * 2 + header["rows"][2]
    assert "without checksums: damage is not noticed" in TokenShards(out).summary()
    for name, damage, words in (
        ("captions-00001.jsonl", lambda data: data[: len(data) // 2], "lines, not 4"),
        ("tokens-00000.bin", lambda data: b"\xff" * len(data), "holds the id 65535"),
    ):
        whole = (out / name).read_bytes()
        (out / name).write_bytes(damage(whole))
        with pytest.raises(DataError, match=words):
            shards = TokenShards(out)
            [shards[i] for i in range(10)]
        (out / name).write_bytes(whole)


def test_mistakes_get_one_line(encode: Encoder, tmp_path: Path) -> None:
    encode(tmp_path / "done")
    (tmp_path / "file").write_text("")
    made.write(tmp_path / "other" / "notes.txt", "notes")
    for out, more, words in (
        ("done", ("--augmentations", 2), "shards of another augmentations"),
        ("done", ("--data.split", "val"), "shards of another data"),
        ("file", (), "is a file"),
        ("other", (), "holds other files"),
        ("new", ("--data.size", 18), "multiple of 4"),
        ("new", ("--batch", 0), "--batch"),
        ("new", ("--data.root", tmp_path / "gone"), "gone"),
        ("new", ("--checkpoint", tmp_path), "config.json"),
    ):
        code, said = encode(tmp_path / out, *more)
        assert code == 2 and said.startswith("error: ") and words in said, said
    assert not (tmp_path / "new").exists()


def test_center() -> None:
    image = torch.zeros(3, 20, 40)
    image[0, :, 10:30] = 1  # the middle square is red
    ids = torch.zeros(20, 40, dtype=torch.int64)
    ids[:, 10:30] = 7
    view = center(Sample(image, "a", ids, 3, ("a", "b")), 10)
    assert view.image.shape == (3, 10, 10) and (view.image[0] > 0.99).all()
    assert (view.segmentation == 7).all() and view.segmentation.shape == (10, 10)
    assert (view.caption, view.label, view.captions) == ("a", 3, ("a", "b"))


def test_on_grid() -> None:
    ids = torch.tensor([[1, 1, 255, 255], [1, 9, 255, 3], [5, 4, 0, 0], [4, 5, 2, 2]])
    assert on_grid(ids, 2).tolist() == [[1, 255], [4, 0]]

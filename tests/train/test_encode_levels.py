"""Token shards of tokenizers with several ids per position: encoding, reading and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundles.storage import write_json, write_sealed
from core.checkpoints import load_tokenizer
from core.data import center, open_dataset
from core.data.token_shards import TokenShards
from core.errors import DataError
from core.networks.autoencoder import NetworkConfig
from core.quantizers import LevelsConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers import published_layouts as made
from tests.train.test_encode import SIZE
from train.encode import main

LEVELS = LevelsConfig(residual=3)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The tokenizer's bundle, the pictures, and the shards of their three levels."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("levels")
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=24), levels=LEVELS)).eval()
    for parameter in tokenizer.quantizer.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    bundle, root = tokenizer.save_pretrained(folder / "tiny").path, made.shards(folder / "data")
    main(["--checkpoint", str(bundle), "--out", str(folder / "tokens"), "--data.name", "shards",
          "--data.root", str(root), "--data.size", str(SIZE), "--batch", "3", "--shard", "4",
          "--device", "cpu"])  # fmt: skip
    return bundle, root, folder / "tokens"


def test_shards_hold_all_levels(encoded: tuple[Path, Path, Path]) -> None:
    bundle, root, folder = encoded
    tokenizer = load_tokenizer(bundle)
    shards = TokenShards(folder, tokenizer.fingerprint)
    data = open_dataset("shards", root)
    assert (shards.levels, shards.grid) == (3, (4, 4))
    assert len(shards) == len(data)
    for row in range(len(data)):
        image = center(data[row], SIZE).image
        assert torch.equal(shards[row].ids, tokenizer.encode(image[None])[0])
    batch = shards.draws([0, 5, 1])
    assert batch.ids.shape == (3, 3, 4, 4)
    for number, k in enumerate([0, 5, 1]):
        assert torch.equal(batch.ids[number], shards.draw(k).ids)
    if batch.segmentation is not None:
        assert batch.segmentation.shape == (3, 4, 4)
    assert "; 3 ids per position" in shards.summary()
    header = json.loads((folder / "header.json").read_text())
    assert (header["format"], header["tokenizer"]["levels"]) == (3, 3)
    stored = np.fromfile(folder / "tokens-00000.bin", "<u2")
    assert stored.size == header["rows"][0] * 3 * 4 * 4


@pytest.mark.parametrize(
    ("format", "levels"), [(3, 1), (3, None), (3, True), (3, "3"), (2, 3), (3, -2)]
)
def test_a_header_with_other_levels_is_refused(
    encoded: tuple[Path, Path, Path], tmp_path: Path, format: int, levels: object
) -> None:
    header = json.loads((encoded[2] / "header.json").read_text())
    header["format"] = format
    header["tokenizer"]["levels"] = levels
    if levels is None:
        del header["tokenizer"]["levels"]
    header.pop("seal", None)
    write_sealed(tmp_path / "header.json", header)
    with pytest.raises(DataError, match="the number of levels is wrong"):
        TokenShards(tmp_path)


def test_a_format_of_a_later_version_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "header.json", {"kind": "tokens", "format": 4})
    with pytest.raises(DataError, match="this version reads token shards 2 and 3"):
        TokenShards(tmp_path)


def test_a_damaged_id_of_a_level_is_named(encoded: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for file in encoded[2].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokens = np.fromfile(tmp_path / "tokens-00000.bin", "<u2")
    tokens[20] = 24  # of the second level
    tokens.tofile(tmp_path / "tokens-00000.bin")
    with pytest.raises(DataError, match="it holds the id 24, but there are 24 codes"):
        TokenShards(tmp_path)

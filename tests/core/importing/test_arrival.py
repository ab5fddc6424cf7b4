"""VQModels of diffusers that REGVQ_CHECKPOINTS names: imported into the cache, once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.bundles import bundle as checkpoints
from core.bundles import sources
from core.bundles.bundle import list_bundles
from core.bundles.sources import fetch_all
from core.checkpoints import load_tokenizer
from core.importing.arrival import import_on_arrival
from tests.helpers.hub_server import Hub, ask_only, hub


@pytest.fixture(scope="module")
def vqmodel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import VQModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "vqvae"
    VQModel(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, num_vq_embeddings=24,
        mid_block_add_attention=False,
    ).save_pretrained(folder)  # fmt: skip
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "none")
    monkeypatch.setattr(checkpoints, "RUNS", tmp_path / "no-runs")
    monkeypatch.setattr(sources, "_fetched", {})
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub() as state:
        ask_only(monkeypatch, state.address, tmp_path / "home", token=None)
        yield state


def tokenizers() -> dict[str, Path]:
    return {each.name: each.path for each in list_bundles(kind="tokenizer")}


def test_a_folder_is_imported_once(
    vqmodel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(vqmodel))
    assert tokenizers() == {}
    assert fetch_all(convert=import_on_arrival) == []
    ((name, path),) = tokenizers().items()
    assert name == "vqvae" and path.is_relative_to(tmp_path / "cache")
    found = load_tokenizer(path)
    assert found.codebook_size == 24 and found.config.value_range == "unit"
    written = (path / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(sources, "_fetched", {})  # another start of the explorer
    assert fetch_all(convert=import_on_arrival) == [] and list(tokenizers()) == ["vqvae"]
    assert (path / "model.safetensors").stat().st_mtime_ns == written


def test_a_folder_with_models_in_it(
    vqmodel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    zoo = tmp_path / "zoo"
    for name in ("one", "two"):
        shutil.copytree(vqmodel, zoo / name)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(zoo))
    assert fetch_all(convert=import_on_arrival) == []
    assert sorted(tokenizers()) == ["one", "two"]


def test_a_repository_of_the_hub(
    vqmodel: Path, online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    online.repositories["user/taming-vq-f16"] = vqmodel
    monkeypatch.setenv("REGVQ_CHECKPOINTS", "user/taming-vq-f16")
    assert fetch_all(convert=import_on_arrival) == []
    ((name, path),) = tokenizers().items()
    assert name == "user/taming-vq-f16"
    card = (path / "README.md").read_text()
    assert "license: mit" in card and "user/taming-vq-f16" in card


def test_of_a_pipeline_only_the_tokenizer_is_fetched(
    vqmodel: Path, online: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline = tmp_path / "pipeline"
    shutil.copytree(vqmodel, pipeline / "vqvae")
    (pipeline / "model_index.json").write_text("{}")
    (pipeline / "transformer").mkdir()
    (pipeline / "transformer" / "config.json").write_text('{"_class_name": "UVit2DModel"}')
    (pipeline / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"gigabytes")
    online.repositories["amused/amused-256"] = pipeline
    monkeypatch.setenv("REGVQ_CHECKPOINTS", "amused/amused-256")
    assert fetch_all(convert=import_on_arrival) == []
    assert list(tokenizers()) == ["amused/amused-256/vqvae"]
    assert not any("transformer/diff" in path for _, path in online.asked)


def test_pickled_weights_are_not_imported_on_arrival(
    vqmodel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = shutil.copytree(vqmodel, tmp_path / "pickled")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "diffusion_pytorch_model.bin")
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(folder))
    (said,) = fetch_all(convert=import_on_arrival)
    assert "pickled has no safetensors weights" in said and "import_tokenizer.py" in said
    assert tokenizers() == {}


def test_a_broken_model_is_a_sentence(
    vqmodel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = shutil.copytree(vqmodel, tmp_path / "broken")
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"\x08" + b"\0" * 40)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(folder))
    (said,) = fetch_all(convert=import_on_arrival)
    assert "cannot be read" in said and not (tmp_path / "cache" / "imported").exists()

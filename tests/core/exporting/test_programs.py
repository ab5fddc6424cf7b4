"""Exported programs: the same ids, and pictures within 1e-4, for any batch and size."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.errors import CheckpointError
from core.exporting.programs import (
    DecoderProgram,
    Format,
    difference,
    export_programs,
    run_programs,
)
from core.networks.autoencoder import NetworkConfig
from core.networks.vqgan import VQGANConfig
from core.quantizers import BSQConfig, LFQConfig, RegVQConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig

OURS = TokenizerConfig(
    NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=8),
    RegVQConfig(size=24),
)
TAMING = TokenizerConfig(
    VQGANConfig(
        widths=(32, 32), groups=8, blocks=1, decoder_blocks=2, attention_levels=(1,), z_channels=8,
        latent_dim=4,
    ),
    VQConfig(size=24),
)  # fmt: skip
MAGVIT = TokenizerConfig(
    VQGANConfig(
        widths=(32, 32), groups=8, blocks=1, decoder_blocks=1, attention_levels=(),
        middle_attention=False,
        z_channels=6, latent_dim=6, quant_conv=False, bias=False, out_kernel=1,
        downsample="symmetric", upsample="depth_to_space", decoder_norm="adaptive",
    ),
    LFQConfig(size=64),
    "unit",
)  # fmt: skip
SPHERICAL = replace(OURS, quantizer=BSQConfig(size=64), channels=5)
SIZES = ((1, 24, 16), (3, 17, 9), (2, 8, 8), (1, 5, 6))


def made(config: TokenizerConfig) -> Tokenizer:
    torch.manual_seed(0)
    tokenizer = Tokenizer(config).eval().requires_grad_(False)
    tokenizer.decoder.last_weight.mul_(0.2)  # pictures mostly within [-1, 1], as real ones
    return tokenizer


def compared(tokenizer: Tokenizer, folder: Path, form: Format) -> None:
    encoder, decoder = run_programs(folder, form)
    for batch, height, width in SIZES:
        images = torch.rand(batch, tokenizer.channels, height, width) * 2 - 1
        ids = tokenizer.encode(images)
        assert torch.equal(encoder(images), ids)
        assert (decoder(ids) - tokenizer.decode(ids)).abs().max() <= 1e-4
    many = torch.randint(tokenizer.codebook_size, (2, 24, 16))  # tokenizers compute these otherwise
    assert (decoder(many) - tokenizer.decode(many)).abs().max() <= 1e-4


def test_a_program_makes_codes_of_signs_without_a_table() -> None:
    """Their table would have 2^18 rows in published tokenizers."""
    made_of_bits = {config: DecoderProgram(made(config)).of_bits
                    for config in (OURS, MAGVIT, SPHERICAL)}  # fmt: skip
    assert list(made_of_bits.values()) == [False, True, True]


@pytest.mark.parametrize(
    "config",
    [OURS, *(pytest.param(other, marks=pytest.mark.long) for other in (MAGVIT, SPHERICAL))],
    ids=["ours", "magvit", "bsq"],
)
@pytest.mark.slow
def test_torch_export(tmp_path: Path, config: TokenizerConfig) -> None:
    tokenizer = made(config)
    export_programs(tokenizer, tmp_path / "out", "torch-export")
    compared(tokenizer, tmp_path / "out", "torch-export")
    wrong, apart = difference(tokenizer, tmp_path / "out", "torch-export")
    assert wrong == 0 and apart <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [pytest.param(TAMING, marks=pytest.mark.long), MAGVIT],
    ids=["taming", "magvit"],
)
def test_onnx(tmp_path: Path, config: TokenizerConfig) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    tokenizer = made(config)
    export_programs(tokenizer, tmp_path / "out", "onnx")
    compared(tokenizer, tmp_path / "out", "onnx")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "decoder.onnx", "encoder.onnx", "programs.json",
    ]  # fmt: skip


def test_onnx_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckpointError, match="pip install onnx onnxscript"):
        export_programs(made(OURS), tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("x")
    with pytest.raises(CheckpointError, match="not empty"):
        export_programs(made(OURS), tmp_path, "torch-export")

"""A tokenizer as two programs without this library: pictures to ids, and ids to pictures.

As ONNX (for onnxruntime and others) or as ``torch.export`` programs; for any batch and any size
(``torch.export`` refuses grids of a single row or column of tokens, whose strides are ambiguous).
Inputs and outputs are those of ``Tokenizer.encode`` and ``Tokenizer.decode``: images float32
(B, C, H, W) in [-1, 1], ids int64 (B, h, w).
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bundles.replacement import replace_folder
from ..bundles.storage import write_json
from ..errors import CheckpointError
from ..quantizers import BSQConfig, LFQConfig
from ..quantizers.levels import one_codebook
from ..tokenizer import Tokenizer

Format = Literal["onnx", "torch-export"]
FILES = {
    "onnx": ("encoder.onnx", "decoder.onnx"),
    "torch-export": ("encoder.pt2", "decoder.pt2"),
}


class EncoderProgram(nn.Module):
    """Pictures to ids. Sides that f does not divide are padded by repeating the edge."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.encoder, self.quantizer = tokenizer.encoder, tokenizer.quantizer
        self.f, self.network_input = tokenizer.downsampling, tokenizer.network_input

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padding = (0, -width % self.f, 0, -height % self.f)
        images = F.pad(images, padding, mode="replicate")
        return self.quantizer.assign(self.encoder(self.network_input(images)))


class DecoderProgram(nn.Module):
    """Ids to pictures. The codes are a table, except those that are made of their bits."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.decoder, self.network_output = tokenizer.decoder, tokenizer.network_output
        self.of_bits = isinstance(tokenizer.config.quantizer, LFQConfig | BSQConfig)
        if self.of_bits:
            self.quantizer = tokenizer.quantizer
        else:
            self.register_buffer("codes", tokenizer.quantizer.codebook().detach().clone())

    def forward(self, ids: Tensor) -> Tensor:
        if self.of_bits:
            latents = self.quantizer.embed(ids)
        else:
            latents = F.embedding(ids, self.get_buffer("codes")).permute(0, 3, 1, 2)
        return self.network_output(self.decoder(latents)).clamp(-1, 1)


@torch.no_grad()
def export_programs(tokenizer: Tokenizer, folder: Path, form: Format) -> None:
    """Write the two programs and ``programs.json``, which says what goes in and out.

    ``folder`` must be new or empty. Raises CheckpointError if it is not, if the packages that write
    the format are missing, or for a tokenizer with several levels.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} is not empty; name a new folder.")
    try:
        one_codebook(tokenizer.quantizer, f"an export to {form}")
    except ValueError as error:
        raise CheckpointError(f"{error}.") from None
    if form == "onnx":
        _check_onnx()
    f, size = tokenizer.downsampling, tokenizer.codebook_size
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save = _save_onnx if form == "onnx" else _save_program
    channels = tokenizer.channels
    example = torch.linspace(-1, 1, 2 * channels * 3 * f * 2 * f).view(2, channels, 3 * f, 2 * f)
    encoder, decoder = (fresh / name for name in FILES[form])
    with _quiet():
        save(EncoderProgram(tokenizer).eval(), example, encoder, ("images", "ids"), (2, 3))
        ids = torch.arange(2 * 3 * 2).view(2, 3, 2) % size
        save(DecoderProgram(tokenizer).eval(), ids, decoder, ("ids", "images"), (1, 2))
    write_json(
        fresh / "programs.json",
        {
            "encoder": {
                "file": encoder.name,
                "images": f"float32 (B, {channels}, H, W) in [-1, 1]",
            },
            "decoder": {"file": decoder.name, "ids": "int64 (B, h, w)"},
            "codebook_size": size,
            "downsampling": f,
            "fingerprint": tokenizer.fingerprint,
        },
    )
    replace_folder(fresh, folder)


def _check_onnx() -> None:
    for name in ("onnx", "onnxscript"):
        try:
            import_module(name)
        except ImportError:
            raise CheckpointError(
                f"writing ONNX needs the package {name}: pip install onnx onnxscript."
            ) from None


Save = Callable[[nn.Module, Tensor, Path, tuple[str, str], tuple[int, int]], None]


def _exported(
    module: nn.Module, example: Tensor, axes: tuple[int, int]
) -> torch.export.ExportedProgram:
    dynamic = dict.fromkeys((0, *axes), torch.export.Dim.DYNAMIC)
    return torch.export.export(module, (example,), dynamic_shapes=(dynamic,), strict=False)


def _save_program(
    module: nn.Module, example: Tensor, file: Path, names: tuple[str, str], axes: tuple[int, int]
) -> None:
    torch.export.save(_exported(module, example, axes), file)


def _save_onnx(
    module: nn.Module, example: Tensor, file: Path, names: tuple[str, str], axes: tuple[int, int]
) -> None:
    program = torch.onnx.export(
        _exported(module, example, axes), (example,), dynamo=True,
        input_names=[names[0]], output_names=[names[1]], verbose=False,
    )  # fmt: skip
    assert program is not None  # it is None for the older exporter alone
    program.save(str(file))


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters log and warn of every pass; what matters raises."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def run_programs(folder: Path, form: Format) -> tuple[Callable[[Tensor], Tensor], ...]:
    """Return the encoder and the decoder of a folder that ``export_programs`` wrote, on the CPU.

    Raises CheckpointError if onnxruntime is missing.
    """
    if form == "torch-export":
        return tuple(torch.export.load(folder / name).module() for name in FILES[form])
    try:
        onnxruntime = import_module("onnxruntime")
    except ImportError:
        raise CheckpointError("running ONNX needs onnxruntime: pip install onnxruntime.") from None

    def runner(name: str) -> Callable[[Tensor], Tensor]:
        session = onnxruntime.InferenceSession(
            str(folder / name), providers=["CPUExecutionProvider"]
        )
        (entry,) = session.get_inputs()
        return lambda x: torch.from_numpy(session.run(None, {entry.name: x.numpy()})[0])

    return tuple(runner(name) for name in FILES[form])


@torch.no_grad()
def difference(tokenizer: Tokenizer, folder: Path, form: Format) -> tuple[int, float]:
    """Return how many of a picture's ids the written programs choose otherwise than the tokenizer,
    and the largest difference of its pixels. Raises CheckpointError as ``run_programs``."""
    encoder, decoder = run_programs(folder, form)
    f, draw = tokenizer.downsampling, torch.Generator().manual_seed(0)
    images = torch.rand(1, tokenizer.channels, 5 * f + 1, 4 * f, generator=draw) * 2 - 1
    ids = tokenizer.encode(images)
    wrong = int((encoder(images) != ids).sum())
    return wrong, float((decoder(ids) - tokenizer.decode(ids)).abs().max())

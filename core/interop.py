"""Tokenizers of other projects: diffusers' `VQModel`, read and written, with a Tokenizer's face.

What `train/evaluate.py` measures on our bundles it thereby measures on a peer's model, with the
same code and on the same pictures. diffusers is imported only here and only when it is needed.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bundles.bundle import Bundle
from .errors import CheckpointError
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from diffusers import VQModel

PEER = "VQModel"
Range = Literal["signed", "unit"]


class DiffusersTokenizer(nn.Module):
    """A diffusers `VQModel` that is used as a Tokenizer: images in [-1, 1] to ids and back.

    Ids are those of the model's own quantizer, pictures those of its own decoder. Sides that f
    does not divide are padded by repeating the edge, as our Tokenizer does.
    """

    def __init__(self, model: VQModel, value_range: Range = "signed") -> None:
        """``value_range``: that of the model's pixels, [-1, 1] ("signed") or [0, 1] ("unit")."""
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.value_range = value_range

    @property
    def downsampling(self) -> int:
        """f, the pixels per token along each side."""
        return 2 ** (len(self.model.config.block_out_channels) - 1)

    @property
    def codebook_size(self) -> int:
        """K, the number of codes."""
        return self.model.config.num_vq_embeddings

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.quant_conv.weight.device

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Latents before quantization, float32 (B, D, ceil(H/f), ceil(W/f))."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        padding = (0, -width % self.downsampling, 0, -height % self.downsampling)
        if any(padding):
            images = F.pad(images, padding, mode="replicate")
        images = images.to(self.device)
        inside = images if self.value_range == "signed" else (images + 1) / 2
        return self.model.encode(inside).latents.float()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Token ids int64 (B, ceil(H/f), ceil(W/f)) of images (B, 3, H, W) in [-1, 1]."""
        z = self.latents(images)
        ids = self.model.quantize(z)[2][2]
        return ids.reshape(z.shape[0], *z.shape[2:]).long()

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Images float32 (B, 3, h*f, w*f) in [-1, 1] of token ids (B, h, w).

        Raises ValueError for an id outside [0, K) or a wrong number of axes.
        """
        if ids.ndim != 3:
            raise ValueError(f"token ids must be (B, h, w), got {tuple(ids.shape)}")
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.codebook_size:
            raise ValueError(f"token ids must be from 0 to {self.codebook_size - 1}")
        z = self.model.quantize.embedding(ids.to(self.device)).permute(0, 3, 1, 2).contiguous()
        spatial = self.model.config.norm_type == "spatial"
        images = self.model.decoder(self.model.post_quant_conv(z), z if spatial else None)
        images = images.float()
        return (images if self.value_range == "signed" else images * 2 - 1).clamp(-1, 1)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) through tokens and back, same size, in [-1, 1]."""
        height, width = images.shape[-2:]
        return self.decode(self.encode(images))[..., :height, :width]


def import_vqmodel(
    folder: str | Path, device: str = "cpu", value_range: Range | None = None
) -> DiffusersTokenizer:
    """The `VQModel` in a folder (`config.json` and safetensors weights; never a pickle).

    ``value_range`` is that of its pixels. No file states it; None takes [0, 1] for a model without
    attention in the middle, as aMUSEd's are, and [-1, 1] for others.

    Raises CheckpointError: diffusers is not installed, there are no such weights, or they do not
    fit the config.
    """
    try:
        from diffusers import VQModel
    except ImportError:
        raise CheckpointError(
            f"{folder} is a {PEER} of diffusers, which is not installed: pip install diffusers."
        ) from None
    folder = Path(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    if not weights.is_file():
        raise CheckpointError(
            f"{weights} is missing; fetch the safetensors weights (pickled ones are never loaded)."
        )
    log = logging.getLogger("diffusers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        model, said = VQModel.from_pretrained(
            str(folder),
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as error:  # it raises OSError, ValueError, RuntimeError, SafetensorError
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder} cannot be read as a {PEER}: {reason}") from None
    finally:
        log.setLevel(level)
    if said["missing_keys"]:  # diffusers would go on with random ones
        names = ", ".join(sorted(said["missing_keys"])[:3])
        raise CheckpointError(f"{weights} lacks weights of its config.json ({names}); fetch both.")
    if value_range is None:
        value_range = "signed" if model.config.mid_block_add_attention else "unit"
    return DiffusersTokenizer(model.float(), value_range).to(device)


def export_vqmodel(tokenizer: DiffusersTokenizer | Tokenizer, folder: str | Path) -> None:
    """Write a tokenizer as a folder that `VQModel.from_pretrained` reads.

    Only one that came from there can go back. Our own network has no counterpart in `VQModel`
    (its stem folds pixels into channels and its decoder unfolds them, GroupNorm has groups of 16
    channels, the quantizer may be another), and weights that fit no layer cannot be exported.

    Raises CheckpointError for a Tokenizer of ours.
    """
    if not isinstance(tokenizer, DiffusersTokenizer):
        raise CheckpointError(
            f"this tokenizer's network has no counterpart in diffusers' {PEER}, so it cannot be "
            "written as one; use its bundle (core.Tokenizer.from_pretrained), or try "
            "train/export_tokenizer.py, which writes those that have one."
        )
    tokenizer.model.save_pretrained(str(folder), safe_serialization=True)


def open_tokenizer(
    bundle: Bundle, device: str = "cpu", value_range: Range | None = None
) -> Tokenizer | DiffusersTokenizer:
    """The tokenizer of a bundle of ours or of a folder with a `VQModel` of diffusers.

    ``value_range``: as for ``import_vqmodel``; a bundle of ours states its own. Raises
    CheckpointError for a folder with neither, with weights that do not fit, or of another range.
    """
    if bundle.config.get("_class_name") == PEER:
        return import_vqmodel(bundle.path, device, value_range)
    tokenizer = Tokenizer.from_pretrained(bundle, device)
    if value_range not in (None, tokenizer.config.value_range):
        raise CheckpointError(
            f"{bundle.path} states the value range {tokenizer.config.value_range}; leave "
            f"{value_range} out, or import the tokenizer again with it."
        )
    return tokenizer

"""diffusers' `VQModel` with the interface of our Tokenizer, and as a folder that diffusers reads.

So `train/evaluate.py` measures another project's model with the code and on the pictures that it
uses for our bundles. diffusers is imported only when a function needs it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from .bundles.bundle import Bundle
from .channels import Projection, project, projection
from .errors import CheckpointError
from .networks.autoencoder import pad_to_multiple
from .tokenizer import Tokenizer, check_ids, check_images

if TYPE_CHECKING:
    from diffusers import VQModel  # pyright: ignore[reportPrivateImportUsage] (a lazy export)

Range = Literal["signed", "unit"]
"""The values of a model's pixels: [-1, 1] or [0, 1]."""

_CLASS_NAME = "VQModel"  # in config.json


class DiffusersTokenizer(nn.Module):
    """A diffusers `VQModel` with the interface of a Tokenizer: images in [-1, 1] to ids and back.

    Ids come from the model's own quantizer, images from its own decoder. Sides that are not
    multiples of f are padded by repeating the edge, as in our Tokenizer.
    """

    def __init__(self, model: VQModel, value_range: Range = "signed") -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.value_range = value_range

    @property
    def downsampling(self) -> int:
        """f, the pixels per token along each side."""
        return 2 ** (len(self.model.config["block_out_channels"]) - 1)

    @property
    def codebook_size(self) -> int:
        """K, the number of codes."""
        return self.model.config["num_vq_embeddings"]

    @property
    def channels(self) -> int:
        """C, the channels of the pictures."""
        return self.model.config["in_channels"]

    @property
    def projection(self) -> Projection:
        """The places, from 0, of the channels that are seen as red, green and blue."""
        return projection(self.channels)

    def visible(self, images: Tensor) -> Tensor:
        """Return the three channels of images (..., C, H, W) that distances see: (..., 3, H, W)."""
        return project(images, self.projection)

    @property
    def levels(self) -> int:
        """The number of ids per position: 1."""
        return 1

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.quant_conv.weight.device

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Return the latents of images (B, C, H, W) in [-1, 1] before quantization.

        They are float32 (B, D, ceil(H/f), ceil(W/f)).
        """
        check_images(images, self.channels)
        images = pad_to_multiple(images, self.downsampling).to(self.device)
        inside = images if self.value_range == "signed" else (images + 1) / 2
        return self.model.encode(inside).latents.float()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the token ids int64 (B, ceil(H/f), ceil(W/f)) of images (B, C, H, W)."""
        z = self.latents(images)
        ids = self.model.quantize(z)[2][2]
        return ids.reshape(z.shape[0], *z.shape[2:]).long()

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Return the images float32 (B, C, h*f, w*f) in [-1, 1] of token ids int64 (B, h, w).

        Raises ValueError for an id outside [0, K) or a wrong number of axes.
        """
        check_ids(ids, self.codebook_size)
        z = self.model.quantize.embedding(ids.to(self.device)).permute(0, 3, 1, 2).contiguous()
        spatial = self.model.config["norm_type"] == "spatial"
        images = self.model.decoder(self.model.post_quant_conv(z), z if spatial else None)
        images = images.float()
        return (images if self.value_range == "signed" else images * 2 - 1).clamp(-1, 1)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Encode and decode images (B, C, H, W) in [-1, 1]; return images of the same size."""
        height, width = images.shape[-2:]
        return self.decode(self.encode(images))[..., :height, :width]


def import_vqmodel(
    folder: str | Path, device: str = "cpu", value_range: Range | None = None
) -> DiffusersTokenizer:
    """Load the `VQModel` in a folder (`config.json` and safetensors weights; never a pickle).

    No file states the value range of its pixels; None takes [0, 1] for a model without attention in
    the middle, as aMUSEd's are, and [-1, 1] for others.

    Raises CheckpointError if diffusers is not installed, or if the weights are missing, broken, or
    do not fit the config.
    """
    try:
        from diffusers import VQModel  # pyright: ignore[reportPrivateImportUsage] (a lazy export)
    except ImportError:
        raise CheckpointError(
            f"{folder} is a VQModel of diffusers, which is not installed: pip install diffusers."
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
        loaded: Any = VQModel.from_pretrained(
            str(folder),
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError, …
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder} cannot be read as a VQModel: {reason}") from None
    finally:
        log.setLevel(level)
    model, report = loaded
    if report["missing_keys"]:  # diffusers leaves these weights random
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise CheckpointError(f"{weights} lacks weights of its config.json ({names}); fetch both.")
    if value_range is None:
        value_range = "signed" if model.config["mid_block_add_attention"] else "unit"
    return DiffusersTokenizer(model.float(), value_range).to(device)


def export_vqmodel(tokenizer: DiffusersTokenizer | Tokenizer, folder: str | Path) -> None:
    """Write a tokenizer as a folder that `VQModel.from_pretrained` reads.

    Only a tokenizer that was imported from diffusers can be exported. Our own network has no
    counterpart in `VQModel`: its stem folds pixels into channels and its decoder unfolds them,
    GroupNorm has groups of 16 channels, and the quantizer may be another one.

    Raises CheckpointError for a Tokenizer of this project.
    """
    if not isinstance(tokenizer, DiffusersTokenizer):
        raise CheckpointError(
            "this tokenizer's network has no counterpart in diffusers' VQModel, so it cannot be "
            "written as one; use its bundle (core.Tokenizer.from_pretrained), or try "
            "train/export_tokenizer.py, which writes those that have one."
        )
    tokenizer.model.save_pretrained(str(folder), safe_serialization=True)


def open_tokenizer(
    bundle: Bundle, device: str = "cpu", value_range: Range | None = None
) -> Tokenizer | DiffusersTokenizer:
    """Load the tokenizer of a bundle of this project, or of a folder with diffusers' `VQModel`.

    ``value_range``: as in ``import_vqmodel``; a bundle of this project states its own. Raises
    CheckpointError for a folder with neither, with weights that do not fit, or of another range.
    """
    if bundle.config.get("_class_name") == _CLASS_NAME:
        return import_vqmodel(bundle.path, device, value_range)
    tokenizer = Tokenizer.from_pretrained(bundle, device)
    if value_range not in (None, tokenizer.config.value_range):
        raise CheckpointError(
            f"{bundle.path} states the value range {tokenizer.config.value_range}; leave "
            f"{value_range} out, or import the tokenizer again with it."
        )
    return tokenizer

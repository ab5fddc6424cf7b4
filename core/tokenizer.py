"""The tokenizer: images to token ids and back.

tokenizer = Tokenizer.from_pretrained("checkpoints/photos-regvq")
ids = tokenizer.encode(images)      # (B, 3, H, W) in [-1, 1] -> int64 (B, h, w)
images = tokenizer.decode(ids)      # (B, 3, h*f, w*f) in [-1, 1]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .networks.autoencoder import Decoder, Encoder, NetworkConfig
from .quantizers import Quantized, Quantizer, QuantizerConfig, RegVQConfig
from .quantizers.base import to_rows


@dataclass(frozen=True)
class TokenizerConfig:
    """A tokenizer's architecture: enough to build it again."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    quantizer: QuantizerConfig = field(default_factory=RegVQConfig)


class Tokenizer(nn.Module):
    """Encoder, quantizer and decoder.

    ``encode``, ``decode``, ``latents``, ``reconstruct`` and ``log_posterior`` run without gradient
    and expect eval mode, in which ``from_pretrained`` returns it. They take pictures of any size:
    sides that f does not divide are padded by repeating the edge, and ``reconstruct`` crops back.
    ``forward`` is the training pass and takes only sides that f divides.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.network)
        self.quantizer: Quantizer = config.quantizer.build(config.network.latent_dim)
        self.decoder = Decoder(config.network)

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu") -> Tokenizer:
        """The tokenizer of a checkpoint bundle or a run folder, in eval mode.

        Raises ``core.bundles.bundle.CheckpointError`` if there is none or it does not fit.
        """
        from .bundles.bundle import load_tokenizer

        return load_tokenizer(path, device)

    @property
    def downsampling(self) -> int:
        """f, the pixels per token along each side."""
        return self.config.network.downsampling

    @property
    def codebook_size(self) -> int:
        """K, the number of codes."""
        return self.quantizer.size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.last_weight.device

    def forward(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Quantized]:
        """Training pass over images (B, 3, H, W): reconstruction of the same shape, latents
        (B, D, h, w), and what the quantizer made of them."""
        latents = self.encoder(images)
        quantized = self.quantizer(latents, generator=generator)
        return self.decoder(quantized.z), latents, quantized

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Continuous latents before quantization, float32 (B, D, ceil(H/f), ceil(W/f))."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        step = self.downsampling
        padding = (0, -width % step, 0, -height % step)
        if any(padding):
            images = F.pad(images, padding, mode="replicate")
        return self.encoder(images.to(self.device)).float()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Token ids int64 (B, ceil(H/f), ceil(W/f)) of images (B, 3, H, W) in [-1, 1]; argmax."""
        return self.quantizer.assign(self.latents(images))

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Images float32 (B, 3, h*f, w*f) in [-1, 1] of token ids (B, h, w).

        Raises ValueError for an id outside [0, K) or a wrong number of axes.
        """
        if ids.ndim != 3:
            raise ValueError(f"token ids must be (B, h, w), got {tuple(ids.shape)}")
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.codebook_size:
            raise ValueError(
                f"token ids must be from 0 to {self.codebook_size - 1}, "
                f"got {int(ids.min())} to {int(ids.max())}"
            )
        return self._paint(self.quantizer.embed(ids.to(self.device)))

    @torch.no_grad()
    def reconstruct(
        self,
        images: Tensor,
        mask_ratio: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images (B, 3, H, W) through tokens and back, same size, in [-1, 1].

        ``mask_ratio`` in [0, 1]: share of tokens drawn from the posterior instead of taken by
        argmax (only for quantizers that have one); ``generator`` makes the draw repeatable.
        """
        height, width = images.shape[-2:]
        quantized = self.quantize(images, mask_ratio, generator)
        return self._paint(quantized.z)[..., :height, :width]

    @torch.no_grad()
    def quantize(
        self,
        images: Tensor,
        mask_ratio: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Codes of images (B, 3, H, W) with a share of them drawn; see ``reconstruct``."""
        if not 0 <= mask_ratio <= 1:
            raise ValueError(f"mask_ratio must be from 0 to 1, got {mask_ratio}")
        return self.quantizer(self.latents(images), mask_ratio=mask_ratio, generator=generator)

    @torch.no_grad()
    def log_posterior(self, images: Tensor) -> Tensor:
        """log p(code | position), float32 (B, h, w, K), of images (B, 3, H, W)."""
        z = self.latents(images)
        batch, _, height, width = z.shape
        return self.quantizer.log_posterior(to_rows(z)).view(batch, height, width, -1)

    def _paint(self, z: Tensor) -> Tensor:
        return self.decoder(z).float().clamp_(-1, 1)

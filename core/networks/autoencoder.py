"""Encoder and decoder: fully convolutional, small enough to train on a CPU.

The stem folds pixels into channels (PixelUnshuffle), so that no convolution runs at full
resolution, where a VQ-GAN encoder spends most of its time and a tokenizer gains least. The rest is
the usual design: residual blocks with GroupNorm and SiLU, stride-2 convolutions down,
nearest-neighbor upsampling and a convolution up, and optional self-attention at the coarsest level.

Shapes: images (B, C, H, W), latents (B, D, H/f, W/f), f = ``NetworkConfig.downsampling``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpointing import CheckpointedBlock
from .upsampling import upsample_and_convolve


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the encoder and the decoder. No paper states such small ones: our choice."""

    widths: tuple[int, ...] = (48, 96, 192)
    """Channels per resolution, finest first. Each entry after the first halves the resolution."""
    encoder_blocks: int = 1
    """Residual blocks per resolution in the encoder."""
    decoder_blocks: int = 2
    """Residual blocks per resolution in the decoder, whose task is harder."""
    stem: int = 2
    """Side of the pixel squares that the stem folds into channels."""
    latent_dim: int = 32
    """D, the channels of a latent and the length of a code."""
    decoder_widths: tuple[int, ...] | None = None
    """Channels at each resolution of the decoder, finest first; None: those of ``widths``."""
    last_width: int = 0
    """Channels at full resolution, behind the pixel shuffle, from which a last convolution computes
    the pixels. It sees across the squares that the shuffle puts side by side, so it leaves no grid.
    0: the shuffle itself returns the pixels."""
    norm: Literal["group", "position"] = "group"
    """Normalization of the residual blocks: over groups of channels and the whole picture, or over
    all channels at each position, so that distant parts of a picture do not affect each other."""
    attention: bool = False
    """Self-attention over the coarsest grid. Off by default: its cost grows with the square of the
    picture's area."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"network.widths must name channel counts, got {self.widths}")
        for name in ("encoder_blocks", "decoder_blocks", "stem", "latent_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"network.{name} must be at least 1, got {getattr(self, name)}")
        wide = self.decoder_widths
        if wide is not None and (len(wide) != len(self.widths) or min(wide) < 1):
            raise ValueError(
                f"network.decoder_widths must name {len(self.widths)} channel counts, as widths "
                f"does, or be None for those of widths; got {wide}"
            )
        if self.last_width < 0:
            raise ValueError(f"network.last_width must be 0 or more, got {self.last_width}")
        if self.norm not in ("group", "position"):
            raise ValueError(f"network.norm must be 'group' or 'position', got {self.norm!r}")

    @property
    def downsampling(self) -> int:
        """f, the pixels per token along each side."""
        return self.stem * 2 ** (len(self.widths) - 1)

    @property
    def summary(self) -> str:
        """The network in words, for a model card."""
        return (
            f"widths {list(self.widths)}{self._decoder_words}, {self.encoder_blocks} encoder and "
            f"{self.decoder_blocks} decoder blocks per level, stem {self.stem}, "
            f"attention {'on' if self.attention else 'off'}"
        )

    @property
    def _decoder_words(self) -> str:
        words = ""
        if self.decoder_widths:
            words += f" (decoder {list(self.decoder_widths)})"
        if self.last_width:
            words += f", {self.last_width} channels behind the pixel shuffle"
        if self.norm != "group":
            words += f", norm per {self.norm}"
        return words

    def build_encoder(self, channels: int = 3) -> Encoder:
        """Return the encoder of pictures of ``channels``, with new weights."""
        return Encoder(self, channels)

    def build_decoder(self, channels: int = 3) -> Decoder:
        """Return the decoder to pictures of ``channels``, with new weights."""
        return Decoder(self, channels)


def pad_to_multiple(images: Tensor, step: int) -> Tensor:
    """Pad images (B, C, H, W) at the bottom and the right until ``step`` divides both sides.

    The padding repeats the edge.
    """
    height, width = images.shape[-2:]
    padding = (0, -width % step, 0, -height % step)
    return F.pad(images, padding, mode="replicate") if any(padding) else images


class PositionNorm(nn.LayerNorm):
    """Layer normalization over the channels of (B, C, H, W), at each position by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _norm(channels: int, kind: str = "group") -> nn.Module:
    if kind == "position":
        return PositionNorm(channels, eps=1e-6)
    # 16 channels per group if 16 divides them; else the largest smaller size that divides them.
    size = next(s for s in range(min(16, channels), 0, -1) if channels % s == 0)
    return nn.GroupNorm(channels // size, channels, eps=1e-6)


class ResidualBlock(CheckpointedBlock):
    """Two 3x3 convolutions, each after GroupNorm and SiLU, with a skip connection."""

    def __init__(self, width_in: int, width_out: int, norm: str = "group") -> None:
        super().__init__()
        self.norm1 = _norm(width_in, norm)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = _norm(width_out, norm)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        same = width_in == width_out
        self.skip = nn.Identity() if same else nn.Conv2d(width_in, width_out, 1)
        nn.init.zeros_(self.conv2.weight)  # at first a block is its skip: depth loses no signal

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(CheckpointedBlock):
    """Single-head self-attention over positions, without the (HW, HW) matrix (SDPA)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)
        q, k, v = qkv.unsqueeze(1).chunk(3, dim=-1)
        h = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + self.out(h.transpose(1, 2).reshape(batch, channels, height, width))


class Upsample(nn.Module):
    """Nearest-neighbor upsampling by 2 and a convolution.

    Unlike a transposed convolution, it leaves no checkerboard pattern.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return upsample_and_convolve(x, self.conv.weight, self.conv.bias)


class Encoder(nn.Module):
    """A network from images (B, C, H, W) to latents (B, D, H/f, W/f); f must divide H and W."""

    def __init__(self, config: NetworkConfig, channels: int = 3) -> None:
        super().__init__()
        widths = config.widths
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(config.stem),
            nn.Conv2d(channels * config.stem**2, widths[0], 3, padding=1),
        ]
        for level, width in enumerate(widths):
            if level:
                layers.append(nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1))
            layers += [
                ResidualBlock(width, width, config.norm) for _ in range(config.encoder_blocks)
            ]
        if config.attention:
            layers.append(Attention(widths[-1]))
        layers += [_norm(widths[-1], config.norm), nn.SiLU()]
        layers.append(nn.Conv2d(widths[-1], config.latent_dim, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        # Up to a third faster on a CPU; a decoder is not (measured).
        return self.layers(images.contiguous(memory_format=torch.channels_last))


class Decoder(nn.Module):
    """A network from latents (B, D, h, w) to images (B, C, h*f, w*f), not clamped."""

    def __init__(self, config: NetworkConfig, channels: int = 3) -> None:
        super().__init__()
        widths = (config.decoder_widths or config.widths)[::-1]
        layers: list[nn.Module] = [nn.Conv2d(config.latent_dim, widths[0], 3, padding=1)]
        if config.attention:
            layers.append(Attention(widths[0]))
        for level, width in enumerate(widths):
            if level:
                layers.append(Upsample(widths[level - 1], width))
            layers += [
                ResidualBlock(width, width, config.norm) for _ in range(config.decoder_blocks)
            ]
        layers += [_norm(widths[-1], config.norm), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        last = config.last_width
        width_out = (last or channels) * config.stem**2
        self.to_pixels = nn.Conv2d(widths[-1], width_out, 3, padding=1)
        self.unfold = nn.PixelShuffle(config.stem)
        self.last = nn.Conv2d(last, channels, 3, padding=1) if last else None

    def forward(self, latents: Tensor) -> Tensor:
        images = self.unfold(self.to_pixels(self.layers(latents)))
        return images if self.last is None else self.last(F.silu(images))

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last layer, on which VQ-GAN's adaptive weight compares gradients."""
        return (self.to_pixels if self.last is None else self.last).weight

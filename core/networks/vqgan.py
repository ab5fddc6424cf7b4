"""VQ-GAN's encoder and decoder, as published tokenizers have them (taming-transformers and its
descendants).

One network for three kinds of checkpoints, to the letter, so that their weights give the same ids
and pictures here (``core.importing`` reads them):

- taming's VQGAN (arXiv 2012.09841) and its descendants: latent diffusion's first stage, LlamaGen,
  diffusers' VQModel, aMUSEd, IBQ; with spatial norm MoVQ (arXiv 2209.09002);
- the network of Open-MAGVIT2 (arXiv 2409.04410) and SimVQ (arXiv 2411.02038): no attention, fewer
  biases, strided convolutions with padding 1, depth-to-space, adaptive norm;
- MaskGIT's VQGAN (arXiv 2202.04200): average pooling, and a skip that starts at the block's output.

Shapes: images (B, C, H, W), latents (B, D, H/f, W/f), f = ``VQGANConfig.downsampling``. The encoder
ends with the convolution before the codebook, the decoder starts with the one after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .vqgan_layers import (
    EPS,
    AdaptiveNorm,
    Attention,
    Downsample,
    GroupNorm,
    Norm,
    ResidualBlock,
    SpatialNorm,
    Upsample,
)


@dataclass(frozen=True)
class VQGANConfig:
    """Size and kind of the network. The defaults are those of taming's ImageNet tokenizers with
    f = 16 (72 M parameters without the codebook)."""

    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    """Channels at each level, finest first. Every further level halves the resolution."""
    blocks: int = 2
    """Residual blocks per level in the encoder."""
    decoder_blocks: int = 3
    """Residual blocks per level in the decoder: one more than in the encoder in taming's code."""
    attention_levels: tuple[int, ...] = (4,)
    """Levels (0 is the finest) that have a self-attention after each residual block."""
    middle_blocks: int = 2
    """Residual blocks at the coarsest resolution, between the levels and the latents."""
    middle_attention: bool = True
    """True: a self-attention follows the first of the middle blocks."""
    groups: int = 32
    """Groups of every GroupNorm."""
    z_channels: int = 256
    """Channels at the network's end, before the convolution in front of the codebook."""
    latent_dim: int = 256
    """D, the channels of a latent and the length of a code."""
    quant_conv: bool = True
    """True: 1x1 convolutions stand before and after the codebook. They are not folded into their
    neighbors: zero padding would make borders differ, and ids would lose their last bit."""
    bias: bool = True
    """True: the encoder's first convolution and those of residual blocks have biases."""
    out_kernel: Literal[1, 3] = 3
    """Side of the encoder's last convolution."""
    downsample: Literal["asymmetric", "symmetric", "average"] = "asymmetric"
    """asymmetric: a strided convolution, zeros on the right and below alone; symmetric: zeros on
    all sides; average: pooling without weights."""
    upsample: Literal["nearest", "depth_to_space"] = "nearest"
    """nearest: doubling and a convolution; depth_to_space: a convolution to four times the
    channels, which become squares of pixels."""
    decoder_norm: Literal["group", "spatial", "adaptive"] = "group"
    """spatial: each norm of the decoder is scaled and shifted by the codes at its place (MoVQ);
    adaptive: each level starts with a norm scaled and shifted by the codes' statistics over the
    picture (Open-MAGVIT2)."""
    skip: Literal["input", "output"] = "input"
    """The start of the 1x1 convolution in a block that changes the width: the block's input, or,
    as in MaskGIT's code, at its output, so that the input is not added."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"network.widths must name channel counts, got {self.widths}")
        for name in ("blocks", "decoder_blocks", "groups", "z_channels", "latent_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"network.{name} must be at least 1, got {getattr(self, name)}")
        if odd := [width for width in self.widths if width % self.groups]:
            raise ValueError(f"network.widths must be multiples of {self.groups}, got {odd[0]}")
        if not set(self.attention_levels) <= set(range(len(self.widths))):
            raise ValueError(
                f"network.attention_levels must be from 0 to {len(self.widths) - 1}, "
                f"got {self.attention_levels}"
            )
        if self.middle_blocks < int(self.middle_attention):
            raise ValueError("network.middle_attention needs a middle block")
        if not self.quant_conv and self.z_channels != self.latent_dim:
            raise ValueError(
                f"network.z_channels {self.z_channels} must be network.latent_dim "
                f"{self.latent_dim} without network.quant_conv"
            )
        for name, known in (
            ("out_kernel", (1, 3)),
            ("downsample", ("asymmetric", "symmetric", "average")),
            ("upsample", ("nearest", "depth_to_space")),
            ("decoder_norm", ("group", "spatial", "adaptive")),
            ("skip", ("input", "output")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"network.{name} must be one of {known}, got {getattr(self, name)}"
                )

    @property
    def downsampling(self) -> int:
        """f, the pixels per token along each side."""
        return 2 ** (len(self.widths) - 1)

    @property
    def summary(self) -> str:
        """The network in words, for a model card."""
        attention = ", ".join(map(str, self.attention_levels)) or "none"
        middle = f"{self.middle_blocks} middle blocks"
        middle += " with attention" if self.middle_attention else ""
        return (
            f"VQ-GAN's, widths {list(self.widths)}, {self.blocks} encoder and "
            f"{self.decoder_blocks} decoder blocks per level, attention at levels: {attention}, "
            f"{middle}, downsampling {self.downsample}, upsampling {self.upsample}, decoder norm "
            f"{self.decoder_norm}"
        )

    def build_encoder(self, channels: int = 3) -> Encoder:
        """Return the encoder of pictures of ``channels``, with new weights."""
        return Encoder(self, channels)

    def build_decoder(self, channels: int = 3) -> Decoder:
        """Return the decoder to pictures of ``channels``, with new weights."""
        return Decoder(self, channels)


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by an attention if asked."""

    def __init__(
        self,
        config: VQGANConfig,
        norm: Norm,
        widths: tuple[int, int],
        blocks: int,
        attention: bool,
        adaptive: bool = False,
    ) -> None:
        super().__init__()
        first, width = widths
        self.adaptive = AdaptiveNorm(config.groups, first, config.latent_dim) if adaptive else None
        self.blocks = nn.ModuleList(
            ResidualBlock(norm, width if index else first, width, config.bias, config.skip)
            for index in range(blocks)
        )
        self.attentions = nn.ModuleList(
            Attention(norm, width) for _ in range(blocks if attention else 0)
        )
        self.resample: nn.Module | None = None

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        if self.adaptive is not None:
            x = self.adaptive(x, codes)
        for index, block in enumerate(self.blocks):
            x = block(x, codes)
            if len(self.attentions):
                x = self.attentions[index](x, codes)
        return x if self.resample is None else self.resample(x)


class Middle(nn.Module):
    """Residual blocks at the coarsest resolution, with an attention after the first if asked."""

    def __init__(self, config: VQGANConfig, norm: Norm) -> None:
        super().__init__()
        width = config.widths[-1]
        self.blocks = nn.ModuleList(
            ResidualBlock(norm, width, width, config.bias, config.skip)
            for _ in range(config.middle_blocks)
        )
        self.attention = Attention(norm, width) if config.middle_attention else None

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, codes)
            if index == 0 and self.attention is not None:
                x = self.attention(x, codes)
        return x


class Encoder(nn.Module):
    """Images (B, C, H, W) to latents (B, D, H/f, W/f); H and W must be multiples of f."""

    def __init__(self, config: VQGANConfig, channels: int = 3) -> None:
        super().__init__()
        widths, norm = config.widths, _group_norm(config)
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1, bias=config.bias)
        self.levels = nn.ModuleList()
        for level, width in enumerate(widths):
            pair = (widths[max(level - 1, 0)], width)
            attention = level in config.attention_levels
            part = Level(config, norm, pair, config.blocks, attention)
            if level < len(widths) - 1:
                part.resample = Downsample(config.downsample, width)
            self.levels.append(part)
        self.middle = Middle(config, norm)
        self.norm_out = norm(widths[-1])
        side = config.out_kernel
        self.conv_out = nn.Conv2d(widths[-1], config.z_channels, side, padding=side // 2)
        self.quant_conv = (
            nn.Conv2d(config.z_channels, config.latent_dim, 1) if config.quant_conv else None
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(images)
        for level in self.levels:
            x = level(x)
        x = self.conv_out(F.silu(self.norm_out(self.middle(x))))
        return x if self.quant_conv is None else self.quant_conv(x)


class Decoder(nn.Module):
    """Latents (B, D, h, w) to images (B, C, h*f, w*f), not clamped."""

    def __init__(self, config: VQGANConfig, channels: int = 3) -> None:
        super().__init__()
        widths, norm = config.widths, _group_norm(config)
        if config.decoder_norm == "spatial":
            norm = partial(SpatialNorm, latent_dim=config.latent_dim)
        adaptive = config.decoder_norm == "adaptive"
        self.post_quant_conv = (
            nn.Conv2d(config.latent_dim, config.z_channels, 1) if config.quant_conv else None
        )
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.middle = Middle(config, norm)
        self.levels = nn.ModuleList()  # as in the encoder the finest is the first; it runs last
        for level, width in enumerate(widths):
            pair = (widths[min(level + 1, len(widths) - 1)], width)
            attention = level in config.attention_levels
            part = Level(config, norm, pair, config.decoder_blocks, attention, adaptive)
            if level > 0:
                part.resample = Upsample(config.upsample, width)
            self.levels.append(part)
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = latents if self.post_quant_conv is None else self.post_quant_conv(latents)
        x = self.middle(self.conv_in(x), latents)
        for level in reversed(self.levels):
            x = level(x, latents)
        return self.conv_out(F.silu(self.norm_out(x, latents)))

    @property
    def last_weight(self) -> Tensor:
        """The last layer's weight: the adaptive adversarial weight compares gradients on it."""
        return self.conv_out.weight


def _group_norm(config: VQGANConfig) -> Norm:
    return lambda width: GroupNorm(config.groups, width, eps=EPS)

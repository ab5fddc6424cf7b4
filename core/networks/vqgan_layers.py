"""The layers of VQ-GAN's network (``core.networks.vqgan``), as published tokenizers have them.

Every norm may be scaled and shifted by the codes, so that norms, blocks and attentions take the map
of codes (B, D, h, w) beside their input; where nothing depends on it, it is ignored.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .checkpointing import CheckpointedBlock
from .upsampling import upsample_and_convolve

EPS = 1e-6  # of every norm, in all published networks
Norm = Callable[[int], nn.Module]
"""Makes the norm of so many channels."""


class GroupNorm(nn.GroupNorm):
    """GroupNorm that ignores the codes, which a spatial norm in its place needs."""

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        return super().forward(x)


class SpatialNorm(nn.Module):
    """GroupNorm whose scale and shift at each place are linear in the code there (MoVQ)."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=EPS)  # 32 whatever the other norms have
        self.scale = nn.Conv2d(latent_dim, width, 1)
        self.shift = nn.Conv2d(latent_dim, width, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        codes = F.interpolate(codes, size=x.shape[-2:], mode="nearest")
        return self.norm(x) * self.scale(codes) + self.shift(codes)


class AdaptiveNorm(nn.Module):
    """GroupNorm scaled by the codes' deviation over the picture and shifted by their mean."""

    def __init__(self, groups: int, width: int, latent_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=EPS, affine=False)
        self.scale = nn.Linear(latent_dim, width)
        self.shift = nn.Linear(latent_dim, width)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        rows = codes.flatten(2)
        mean = rows.mean(-1)
        # The unbiased variance, as in the authors' code. Of a single token that is 0/0: there it is
        # NaN, here 0.
        squares = (rows - mean.unsqueeze(-1)).square().sum(-1)
        deviation = (squares / max(rows.shape[-1] - 1, 1) + EPS).sqrt()
        scale, shift = self.scale(deviation), self.shift(mean)
        return self.norm(x) * scale[..., None, None] + shift[..., None, None]


class ResidualBlock(CheckpointedBlock):
    """Two 3x3 convolutions around a skip, each after a norm and SiLU."""

    def __init__(
        self, norm: Norm, width_in: int, width_out: int, bias: bool = True, skip: str = "input"
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width_in), norm(width_out)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=bias)
        self.from_output = skip == "output"
        self.skip = None
        if width_in != width_out:
            start = width_out if self.from_output else width_in
            self.skip = nn.Conv2d(start, width_out, 1, bias=bias)

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, codes)))
        h = self.conv2(F.silu(self.norm2(h, codes)))
        if self.skip is not None:
            x = self.skip(h if self.from_output else x)
        return x + h


class Attention(CheckpointedBlock):
    """Single-head self-attention over positions, computed without the (HW, HW) matrix (SDPA)."""

    def __init__(self, norm: Norm, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        rows = self.qkv(self.norm(x, codes)).flatten(2).transpose(1, 2).unsqueeze(1)
        h = F.scaled_dot_product_attention(*rows.chunk(3, dim=-1)).squeeze(1)
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Half the resolution; see ``VQGANConfig.downsample``."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.asymmetric = kind == "asymmetric"
        self.conv = None
        if kind != "average":
            padding = 0 if self.asymmetric else 1
            self.conv = nn.Conv2d(width, width, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is None:
            return F.avg_pool2d(x, 2)
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.asymmetric else x)


class Upsample(nn.Module):
    """Twice the resolution; see ``VQGANConfig.upsample``."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.unfold = nn.PixelShuffle(2) if kind == "depth_to_space" else None
        self.conv = nn.Conv2d(width, width * (1 if self.unfold is None else 4), 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.unfold is not None:
            return self.unfold(self.conv(x))
        return upsample_and_convolve(x, self.conv.weight, self.conv.bias)

"""PatchGAN discriminator (pix2pix, arXiv 1611.07004), as VQ-GAN (arXiv 2012.09841) uses it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Size of the discriminator. VQ-GAN has width 64 and 3 layers, for 256 pixels."""

    width: int = 48
    layers: int = 2
    """Number of stride-2 convolutions; each doubles the side of the patch per logit."""

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8:
            raise ValueError(f"discriminator.width must be a multiple of 8, got {self.width}")
        if self.layers < 1:
            raise ValueError(f"discriminator.layers must be at least 1, got {self.layers}")


class Discriminator(nn.Module):
    """A network from images (B, C, H, W) in [-1, 1] to logits (B, 1, h, w), one per patch.

    It has GroupNorm instead of the usual BatchNorm, whose statistics would differ between real and
    generated batches and between processes.
    """

    def __init__(self, config: DiscriminatorConfig, channels: int = 3) -> None:
        super().__init__()
        width = config.width
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for level in range(1, config.layers + 1):
            wider = min(width * 2, config.width * 8)
            stride = 2 if level < config.layers else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(8, wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)

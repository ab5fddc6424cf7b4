"""Codebook collapse, live: tiny tokenizers on small pictures.

``core.tokenizer.Tokenizer`` at a size that learns within seconds on a CPU: pictures of 32
pixels, one code for every 4 x 4 of them, 20 thousand weights. All sizes and rates are our choice;
it shows which codes a quantizer loses, the picture of each code, and the effect on the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...images import to_pixels
from ...metrics.codebook_usage import CodebookUsage, usage_of
from ...metrics.psnr_ssim import mean_psnr, psnr
from ...networks.autoencoder import Decoder, Encoder, NetworkConfig
from ...quantizers import Quantized, Quantizer, QuantizerConfig
from ...tokenizer import Tokenizer, TokenizerConfig
from ..codes import paint_codes
from .training import InteractiveRun, built, default_quantizers, even_levels, set_initial_codes

SIDE = 32
"""Side of a small picture, in pixels."""
ACROSS, DOWN = 3, 2
"""Numbers of small pictures in the watched sheet."""


@dataclass(frozen=True)
class TinyConfig:
    """One run on small pictures."""

    quantizer: QuantizerConfig
    network: NetworkConfig = field(
        default_factory=lambda: NetworkConfig(
            widths=(32,), encoder_blocks=1, decoder_blocks=1, stem=4, latent_dim=8
        )
    )
    batch: int = 16
    rate: float = 3e-3
    """Learning rate of AdamW."""
    offset: float = 1.5
    """Initial distance of the latents from the center of the codes, as in ``LabConfig``."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, got {self.rate}")


class SmallPictures(NamedTuple):
    """The pictures of a run, all float32 in [-1, 1]."""

    train: Tensor
    """(N, 3, SIDE, SIDE)"""
    test: Tensor
    """(M, 3, SIDE, SIDE): the pictures on which usage and PSNR are measured."""
    watched: Tensor
    """(n, 3, h, w): the displayed pictures; one picture, or ACROSS x DOWN small ones."""


class TinyFrame(NamedTuple):
    """The state of a run after some steps; argmax everywhere."""

    step: int
    sheet: np.ndarray
    """uint8 (DOWN * SIDE, ACROSS * SIDE, 3): the reconstructions of the watched pictures."""
    ids: np.ndarray
    """int64 (DOWN * SIDE / f, ACROSS * SIDE / f): their tokens."""
    paints: np.ndarray
    """uint8 (K, f, f, 3): the picture of each code among equal ones."""
    counts: np.ndarray
    """int64 (K,): uses of each code on the test pictures."""
    usage: CodebookUsage
    psnr: float
    """dB, the mean over the test pictures."""


def tiny_quantizers(size: int = 64) -> dict[str, QuantizerConfig]:
    """Return ``default_quantizers`` with the settings that depend on the length of a code."""
    known = default_quantizers(size)
    # Eight components; the plane has two.
    known["NSVQ"] = replace(known["NSVQ"], tau=0.2)
    known["FSP"] = replace(known["FSP"], levels=even_levels(size, 3))
    return known


def scenes(train: int = 96, test: int = 32) -> SmallPictures:
    """Return landscapes of the project's own data set, for training and for testing."""
    from ...data.registry import open_dataset

    def drawn(split: str, count: int) -> Tensor:
        # Drawn at twice the size and averaged: at 32 pixels thin strokes would be coarse.
        found = open_dataset("scenes", size=2 * SIDE, seed=0, split=split)
        return F.avg_pool2d(torch.stack([found[index].image for index in range(count)]), 2)

    tested = drawn("test", test)
    return SmallPictures(drawn("train", train), tested, tested[: ACROSS * DOWN])


def patches(image: Tensor) -> SmallPictures:
    """Cut one picture (3, H, W) in [-1, 1] into small ones: its center at 3:2, at two sizes.

    There are no other pictures to test on, so train and test overlap.
    """
    tall, wide = DOWN * SIDE, ACROSS * SIDE
    large = _covering(image, 2 * tall, 2 * wide)
    small = F.avg_pool2d(large, 2)
    learned = torch.cat([_tiles(each, SIDE // 2) for each in (large, small)])
    tested = torch.cat([_tiles(each, SIDE) for each in (large, small)])
    return SmallPictures(learned, tested, small)


def sheet_of(pictures: Tensor) -> np.ndarray:
    """Return the watched pictures (n, 3, h, w) on one sheet.

    The sheet is uint8 (DOWN * SIDE, ACROSS * SIDE, 3).
    """
    return _side_by_side(to_pixels(pictures.clamp(-1, 1)))


class TinyRun(InteractiveRun):
    """A tiny tokenizer in training."""

    config: TinyConfig

    def __init__(self, config: TinyConfig, pictures: SmallPictures) -> None:
        seed, network = config.seed, config.network
        tokenizer = built(seed, lambda: Tokenizer(TokenizerConfig(network, config.quantizer)))
        # Quantizers draw different amounts of numbers; with their own seeds the networks are equal.
        tokenizer.encoder = built(seed, lambda: Encoder(network))
        tokenizer.decoder = built(seed + 1, lambda: Decoder(network))
        quantizer = tokenizer.quantizer
        assert isinstance(quantizer, Quantizer)
        set_initial_codes(quantizer, seed + 2)
        with torch.no_grad():
            tokenizer.encoder.layers[-1].bias += config.offset / network.latent_dim**0.5
        self.tokenizer, self.pictures = tokenizer, pictures
        super().__init__(config, quantizer, [tokenizer.encoder, tokenizer.decoder])

    def forward(self) -> tuple[Tensor, Tensor, Quantized]:
        known, draw = self.pictures.train, self.data_draw
        images = known[torch.randint(len(known), (self.config.batch,), generator=draw)]
        turned = torch.rand(len(images), generator=draw) < 0.5
        images = torch.where(turned[:, None, None, None], images.flip(3), images)
        painted, latents, found = self.tokenizer(images, generator=self.draw)
        return F.mse_loss(painted, images), latents, found

    @torch.no_grad()
    def look(self) -> TinyFrame:
        """Return the frame of the current state: watched pictures, paints of codes, usage."""
        self.tokenizer.eval()
        test = self.tokenizer.encode(self.pictures.test)
        counts = torch.bincount(test.flatten(), minlength=self.quantizer.size).numpy()
        ids = self.tokenizer.encode(self.pictures.watched)
        quality = psnr(self.pictures.test, self.tokenizer.decode(test)).tolist()
        frame = TinyFrame(
            self.step,
            sheet_of(self.tokenizer.decode(ids)),
            _side_by_side(ids.numpy()),
            paint_codes(self.tokenizer, side=3),
            counts,
            usage_of(counts),
            mean_psnr(quality),
        )
        self.tokenizer.train()
        return frame


def _covering(image: Tensor, tall: int, wide: int) -> Tensor:
    """Return the largest center part of ``image`` (3, H, W) at ``tall`` x ``wide``: (1, 3, …)."""
    height, width = image.shape[1:]
    share = min(height / tall, width / wide)
    down, across = max(1, round(tall * share)), max(1, round(wide * share))
    top, left = (height - down) // 2, (width - across) // 2
    middle = image[None, :, top : top + down, left : left + across]
    return F.interpolate(middle, (tall, wide), mode="bilinear", antialias=True).clamp(-1, 1)


def _tiles(image: Tensor, stride: int) -> Tensor:
    """Return all squares of SIDE pixels at steps of ``stride`` in (1, 3, H, W).

    Their shape is (N, 3, SIDE, SIDE).
    """
    found = image[0].unfold(1, SIDE, stride).unfold(2, SIDE, stride)
    return found.permute(1, 2, 0, 3, 4).reshape(-1, 3, SIDE, SIDE).contiguous()


def _side_by_side(cells: np.ndarray) -> np.ndarray:
    """Return (1, h, w, …) as it is, or ACROSS x DOWN of them as one (DOWN * h, ACROSS * w, …)."""
    if len(cells) == 1:
        return cells[0]
    rows = cells.reshape(DOWN, ACROSS, *cells.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

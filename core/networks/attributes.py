"""A classifier that answers questions about a picture: which hour, how many houses, a red one?

It judges whether a generated picture shows what its caption names. Each question has a few possible
answers, and all are answered from one look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.networks.autoencoder import ResidualBlock

UNKNOWN = -1
"""Index that stands for no answer: the question is not asked of this picture."""


@dataclass(frozen=True)
class AttributesConfig:
    """Questions and size of the classifier. No paper states these sizes: they are our choice."""

    questions: tuple[tuple[str, tuple[str, ...]], ...]
    """Each question with its possible answers."""
    size: int = 64
    """Side, in pixels, of the square pictures that it looks at."""
    widths: tuple[int, ...] = (32, 64, 128, 192)
    """Channels at each resolution, from half the picture's on."""
    hidden: int = 384
    """Width of the layer before the answers."""
    classes: int = 24
    """Classes of the semantic maps that it learns to find on the way."""

    def __post_init__(self) -> None:
        if not self.questions or any(len(answers) < 2 for _, answers in self.questions):
            raise ValueError("every question needs two possible answers or more")
        if len(self.widths) < 3 or min(self.widths) < 1:
            raise ValueError(f"attributes.widths must name 3 levels or more, got {self.widths}")
        if self.size % (2 ** len(self.widths)):
            raise ValueError(
                f"attributes.size must be a multiple of {2 ** len(self.widths)}, got {self.size}"
            )


class AttributeClassifier(nn.Module):
    """Images (B, 3, S, S) in [-1, 1], S = ``config.size``, to the logits of every answer (B, A).

    The position of each pixel is an input beside its colour (CoordConv, Liu et al. 2018), because
    captions speak of left and right; means over the picture count, maxima find what is small. In
    training it also says which classes occur in each cell of 4x4 pixels: answers alone teach it
    too slowly where to look.
    """

    def __init__(self, config: AttributesConfig) -> None:
        super().__init__()
        self.config = config
        self.names = tuple(name for name, _ in config.questions)
        self.sizes = tuple(len(answers) for _, answers in config.questions)
        widths = config.widths
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * 5, widths[0], 3, padding=1),
            ResidualBlock(widths[0], widths[0]),
        )
        levels = [
            nn.Sequential(
                nn.Conv2d(fine, coarse, 3, stride=2, padding=1), ResidualBlock(coarse, coarse)
            )
            for fine, coarse in pairwise(widths)
        ]
        self.near, self.far = levels[0], nn.Sequential(*levels[1:])
        self.find = nn.Conv2d(widths[1], config.classes, 1)
        seen = 2 * (widths[1] + config.classes + widths[-1])
        self.head = nn.Sequential(
            nn.LayerNorm(seen),
            nn.Linear(seen, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, sum(self.sizes)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The answers' logits (B, A), and logits (B, C, S/4, S/4) of classes in each cell."""
        features, cells = self.features(images)
        return self.head(features), cells

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the answers are read from, means and maxima over the picture (B, F), and logits
        (B, C, S/4, S/4) of classes in each cell."""
        batch, _, height, width = images.shape
        size = self.config.size
        if (height, width) != (size, size):
            raise ValueError(f"images of {size}x{size} pixels are needed, got {height}x{width}")
        line = torch.linspace(-1, 1, size, device=images.device, dtype=images.dtype)
        x, y = line.expand(batch, 1, size, size), line.view(-1, 1).expand(batch, 1, size, size)
        near = self.near(self.stem(torch.cat([images, x, y], dim=1)))
        cells, far = self.find(near), F.silu(self.far(near))
        # The cells' own gradient is that of their classes; the answers only read them.
        seen = [F.silu(near), cells.detach().sigmoid(), far]
        pooled = [pool for maps in seen for pool in (maps.mean((2, 3)), maps.amax((2, 3)))]
        return torch.cat(pooled, dim=1), cells

    def loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Cross entropy of ``answers`` int64 (B, Q), -1 where a question has none; a scalar.

        Summed over a picture's questions, averaged over pictures.
        """
        total = logits.new_zeros(())
        for part, truth in zip(logits.float().split(self.sizes, 1), answers.unbind(1), strict=True):
            total = total + F.cross_entropy(part, truth, ignore_index=UNKNOWN, reduction="sum")
        return total / len(logits)

    def cell_loss(self, cells: Tensor, maps: Tensor) -> Tensor:
        """Binary cross entropy of the ``cells`` that ``look`` gives; a scalar.

        maps: the true semantic maps, int64 (B, S, S) without unlabelled pixels. Summed over
        classes, averaged over cells.
        """
        side = self.config.size // cells.shape[-1]
        there = F.one_hot(maps, self.config.classes).permute(0, 3, 1, 2).float()
        there = F.max_pool2d(there, side)
        loss = F.binary_cross_entropy_with_logits(cells.float(), there, reduction="none")
        return loss.sum(1).mean()

    def fitted(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) at the classifier's size (bilinear, antialiased), on its device."""
        images = images.to(next(self.parameters()).device)
        size = (self.config.size, self.config.size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode="bilinear", antialias=True)

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """The likeliest answers int64 (B, Q) to each question, of images (B, 3, H, W) in [-1, 1].

        Pictures of another size are resized to the classifier's.
        """
        parts = self(self.fitted(images)).split(self.sizes, dim=1)
        return torch.stack([part.argmax(1) for part in parts], dim=1)

    def encode(self, answers: Mapping[str, int]) -> Tensor:
        """Answers by question as int64 (Q,), -1 where there is none.

        Raises ValueError for a question that this classifier does not know.
        """
        if strange := set(answers) - set(self.names):
            raise ValueError(f"this classifier knows no question {min(strange)!r}")
        return torch.tensor([answers.get(name, UNKNOWN) for name in self.names])

"""A classifier that answers questions about a picture: which hour, how many houses, a red one?

It judges whether a generated picture shows what its caption names. Each question has a few possible
answers, and all are answered from one look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Judge
from .segmenter import Segmenter, SegmenterConfig

UNKNOWN = -1
"""Index that stands for no answer: the question is not asked of this picture."""
SPOTS = 32
COLOUR_AND_PLACE = 7  # red, green, blue, x, y and their squares


@dataclass(frozen=True)
class AttributesConfig:
    """Questions and size of the classifier. No paper states these sizes: they are our choice."""

    questions: tuple[tuple[str, tuple[str, ...]], ...]
    """Each question with its possible answers."""
    classes: tuple[str, ...]
    """Names of the classes of the semantic map that it reads on the way."""
    size: int = 64
    """Side, in pixels, of the square pictures that it looks at."""
    widths: tuple[int, ...] = (16, 48, 96)
    """Channels of that reading, as `SegmenterConfig.widths`."""
    hidden: int = 512
    """Width of the layer before the answers."""

    def __post_init__(self) -> None:
        if not self.questions or any(len(answers) < 2 for _, answers in self.questions):
            raise ValueError("every question needs two possible answers or more")
        self.reader()  # raises what is wrong with it

    def reader(self) -> SegmenterConfig:
        """The config of the segmenter inside."""
        return SegmenterConfig(self.classes, self.size, self.widths)


class AttributeClassifier(Judge):
    """Images (B, 3, S, S) in [-1, 1], S = ``config.size``, to the logits of every answer (B, A).

    A segmenter reads the picture first, and in training it learns that too: answers alone teach
    too slowly where to look. What is answered from, for each class: how much of it there is, its
    mean colour, place, spread and features; then learned spots, whose sums count and whose maxima
    find what is small; then means and maxima of the coarse maps, for hour, weather and season.
    """

    kind = "attributes"
    config_class = AttributesConfig

    def __init__(self, config: AttributesConfig) -> None:
        super().__init__()
        self.config = config
        self.names = tuple(name for name, _ in config.questions)
        self.sizes = tuple(len(answers) for _, answers in config.questions)
        self.reader = Segmenter(config.reader())
        widths, classes = config.widths, len(config.classes)
        self.spots = nn.Conv2d(widths[0], SPOTS, 3, padding=1)
        parts = (classes, classes * (COLOUR_AND_PLACE + widths[0]), 2 * SPOTS, 2 * sum(widths[1:]))
        self.norms = nn.ModuleList(nn.LayerNorm(part) for part in parts)
        self.head = nn.Sequential(
            nn.Linear(sum(parts), config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, sum(self.sizes)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The answers' logits (B, A), and the logits (B, C, S, S) of the map that was read."""
        features, read = self.features(images)
        return self.head(features), read

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the answers are read from (B, F), and the logits (B, C, S, S) of the map."""
        batch, _, height, width = images.shape
        size = self.config.size
        if (height, width) != (size, size):
            raise ValueError(f"images of {size}x{size} pixels are needed, got {height}x{width}")
        *coarse, fine = self.reader.levels(images)
        read = self.reader.head(fine)
        line = torch.linspace(-1, 1, size, device=images.device, dtype=images.dtype)
        x, y = line.expand(batch, 1, size, size), line.view(-1, 1).expand(batch, 1, size, size)
        place = torch.cat([images, x, y, x * x, y * y], dim=1)
        # The map learns from the true one alone; the answers only read it.
        share = read.detach().float().softmax(1)
        halved = F.avg_pool2d(share, size // fine.shape[-1])
        area = share.mean((2, 3))
        each = [
            torch.einsum("bcp,bfp->bcf", of.flatten(2), maps.float().flatten(2)) / of[0, 0].numel()
            for of, maps in ((share, place), (halved, fine))
        ]
        means = torch.cat(each, dim=2) / (area + 1e-3).unsqueeze(2)
        spots = F.softplus(self.spots(fine).float())
        pooled = [pool for maps in coarse for pool in (maps.mean((2, 3)), maps.amax((2, 3)))]
        parts = (
            (area + 1e-4).log(),
            means.flatten(1),
            torch.cat([spots.sum((2, 3)).log1p(), spots.amax((2, 3))], dim=1),
            torch.cat(pooled, dim=1).float(),
        )
        normed = [norm(part) for norm, part in zip(self.norms, parts, strict=True)]
        return torch.cat(normed, dim=1), read

    def loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Cross entropy of ``answers`` int64 (B, Q), -1 where a question has none; a scalar.

        Summed over a picture's questions, averaged over pictures.
        """
        total = logits.new_zeros(())
        for part, truth in zip(logits.float().split(self.sizes, 1), answers.unbind(1), strict=True):
            total = total + F.cross_entropy(part, truth, ignore_index=UNKNOWN, reduction="sum")
        return total / len(logits)

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

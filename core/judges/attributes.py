"""A classifier that answers questions about a picture, such as its hour or its number of houses.

It measures whether a generated picture shows what its caption states. Each question has a few
possible answers, and one forward pass answers all questions.
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
"""Index of a missing answer: the question does not apply to the picture."""
SPOTS = 32  # channels of the learned spots (our choice)
COLOR_AND_POSITION = 7  # channels: red, green, blue, x, y, x^2, y^2


@dataclass(frozen=True)
class AttributesConfig:
    """Questions and sizes of the classifier. No paper states such sizes: our choice."""

    questions: tuple[tuple[str, tuple[str, ...]], ...]
    """Each question with its possible answers."""
    classes: tuple[str, ...]
    """Names of the classes of the semantic map that it computes first."""
    size: int = 64
    """Side, in pixels, of its square pictures."""
    widths: tuple[int, ...] = (16, 48, 96)
    """Channels of the segmenter, as `SegmenterConfig.widths`."""
    hidden: int = 512
    """Width of the hidden layer before the answers."""

    def __post_init__(self) -> None:
        if not self.questions or any(len(answers) < 2 for _, answers in self.questions):
            raise ValueError("every question needs two possible answers or more")
        self.reader()  # raises its own errors

    def reader(self) -> SegmenterConfig:
        """Return the config of the segmenter."""
        return SegmenterConfig(self.classes, self.size, self.widths)


class AttributeClassifier(Judge):
    """A network from images (B, 3, S, S) in [-1, 1], S = ``config.size``, to the logits (B, A) of
    all answers.

    A segmenter first computes a semantic map. It is trained along with the answers, from which
    alone the network would learn too slowly where to look. The answers are computed from, for each
    class, its area, mean color, position, spread and features; from learned spots, whose sums count
    objects and whose maxima find small ones; and from means and maxima of the coarse maps, for
    hour, weather and season.
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
        per_class = COLOR_AND_POSITION + widths[0]
        parts = (classes, classes * per_class, 2 * SPOTS, 2 * sum(widths[1:]))
        self.norms = nn.ModuleList(nn.LayerNorm(part) for part in parts)
        self.head = nn.Sequential(
            nn.Linear(sum(parts), config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, sum(self.sizes)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.answers_and_map(images)[0]

    def answers_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the answers (B, A) and of the semantic map (B, C, S, S)."""
        features, map_logits = self.features(images)
        return self.head(features), map_logits

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features for the answers (B, F) and the logits (B, C, S, S) of the map.

        Raises ValueError for images of another size than the classifier's.
        """
        batch, _, height, width = images.shape
        size = self.config.size
        if (height, width) != (size, size):
            raise ValueError(f"images must have {size}x{size} pixels, got {height}x{width}")
        *coarse, fine = self.reader.levels(images)
        map_logits = self.reader.head(fine)
        line = torch.linspace(-1, 1, size, device=images.device, dtype=images.dtype)
        x, y = line.expand(batch, 1, size, size), line.view(-1, 1).expand(batch, 1, size, size)
        color_and_position = torch.cat([images, x, y, x * x, y * y], dim=1)
        # Only the true map trains the segmenter's map: the answers' gradient does not reach it.
        share = map_logits.detach().float().softmax(1)
        halved = F.avg_pool2d(share, size // fine.shape[-1])
        area = share.mean((2, 3))
        sums = [
            torch.einsum("bcp,bfp->bcf", p.flatten(2), maps.float().flatten(2)) / p[0, 0].numel()
            for p, maps in ((share, color_and_position), (halved, fine))
        ]
        means = torch.cat(sums, dim=2) / (area + 1e-3).unsqueeze(2)
        spots = F.softplus(self.spots(fine).float())
        pooled = [pool for maps in coarse for pool in (maps.mean((2, 3)), maps.amax((2, 3)))]
        parts = (
            (area + 1e-4).log(),
            means.flatten(1),
            torch.cat([spots.sum((2, 3)).log1p(), spots.amax((2, 3))], dim=1),
            torch.cat(pooled, dim=1).float(),
        )
        normed = [norm(part) for norm, part in zip(self.norms, parts, strict=True)]
        return torch.cat(normed, dim=1), map_logits

    def loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Return the cross entropy of ``answers`` int64 (B, Q), -1 = missing; a scalar.

        It is summed over the questions and averaged over the pictures.
        """
        total = logits.new_zeros(())
        for part, truth in zip(logits.float().split(self.sizes, 1), answers.unbind(1), strict=True):
            total = total + F.cross_entropy(part, truth, ignore_index=UNKNOWN, reduction="sum")
        return total / len(logits)

    def fitted(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W), resized to the classifier's size (bilinear, antialiased), on
        its device."""
        images = images.to(next(self.parameters()).device)
        size = (self.config.size, self.config.size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode="bilinear", antialias=True)

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """Return the most likely answers int64 (B, Q) for images (B, 3, H, W) in [-1, 1].

        Images of another size are resized to the classifier's.
        """
        parts = self(self.fitted(images)).split(self.sizes, dim=1)
        return torch.stack([part.argmax(1) for part in parts], dim=1)

    def encode(self, answers: Mapping[str, int]) -> Tensor:
        """Return answers by question as int64 (Q,), -1 where an answer is missing.

        Raises ValueError for a question that this classifier does not know.
        """
        if unknown := set(answers) - set(self.names):
            raise ValueError(
                f"unknown question {min(unknown)!r}; this classifier knows: {', '.join(self.names)}"
            )
        return torch.tensor([answers.get(name, UNKNOWN) for name in self.names])

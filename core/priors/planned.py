"""A prior's own plan: the semantic map of a picture, drawn before the picture is.

What a sentence says of where things are and of how many there are is a bit or two of the thousand
that a picture's tokens take, and hardly heard among them; of a map it is a good part. Make-A-Scene
(arXiv 2203.13131) so draws a map's tokens before a picture's, autoregressively. INFERRED: that the
map's own classes are drawn here, on the token grid, by a network of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..conditions import Condition, ConditionConfig, SemanticConfig
from ..conditions.semantic import UNLABELLED, composition, majority

if TYPE_CHECKING:
    import torch

    from .autoregressive import AutoregressivePrior
    from .base import Choices, Step


@dataclass(frozen=True)
class LayoutConfig:
    """An autoregressive prior over the classes of a map's cells. The sizes are our choice."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    dropout: float = 0.0


def check_layout(conditions: Sequence[ConditionConfig]) -> None:
    """ValueError unless a prior with these conditions has a use for a layout."""
    semantic = [each for each in conditions if isinstance(each, SemanticConfig)]
    if not semantic:
        raise ValueError("a layout is drawn for a semantic condition, and the prior has none")
    if semantic[0].shares:
        raise ValueError("a layout has one class a cell; set semantic.shares false")


class LayoutPrior(nn.Module):
    """Draws maps int64 (n, h, w), 255 = unlabelled, told what else the prior is told."""

    def __init__(
        self,
        config: LayoutConfig,
        grid: tuple[int, int],
        conditions: Sequence[ConditionConfig],
        drop: float,
    ) -> None:
        super().__init__()
        from .autoregressive import AutoregressiveConfig

        self.classes = next(each for each in conditions if isinstance(each, SemanticConfig)).classes
        others = tuple(each for each in conditions if not isinstance(each, SemanticConfig))
        self.prior: AutoregressivePrior = AutoregressiveConfig(
            codebook_size=self.classes + 1,  # the last: unlabelled
            grid=grid, width=config.width, layers=config.layers, heads=config.heads,
            dropout=config.dropout, conditions=others, drop=drop,
        ).build()  # fmt: skip
        self.prior.network.begin_places()

    def loss(
        self,
        segmentation: Tensor,
        condition: Condition,
        grid: tuple[int, int],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Of maps int64 (B, H, W), ``layout``: the negative log-likelihood in nats a cell;
        ``layout_bits``: the same in bits, exact."""
        cells = majority(composition(segmentation, self.classes, grid)).argmax(1)
        losses = self.prior.loss(cells, condition, generator)
        return {"layout": losses["nll"], "layout_bits": losses["bits"]}

    def sample(self, condition: Condition | None, choices: Choices) -> Iterator[Step]:
        """A step a row of cells, whose ids are the map; the choices are those of the picture's own
        tokens, but for top-k: so many of some thousand codes are no measure for a few classes. Of
        top-k 1, the most likely everywhere, classes are, too."""
        rows, columns = choices.grid
        steps = self.prior.sample(
            condition, choices.n, generator=choices.generator, guidance=choices.guidance,
            temperature=choices.temperature, top_k=int(choices.top_k == 1), top_p=choices.top_p,
            grid=choices.grid,
        )  # fmt: skip
        for step in steps:
            row, rest = divmod(step.done, columns)
            if not rest:
                drawn = step.ids.masked_fill(step.ids == self.classes, UNLABELLED)
                yield step._replace(ids=drawn, done=row, total=rows)

"""Several conditions at once, each of which can be dropped for guidance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .condition import Condition
from .label import LabelConfig
from .semantic import SemanticConfig
from .text import Reading, TextConfig

ConditionConfig = TextConfig | SemanticConfig | LabelConfig

# What config.json calls a condition, and the part of a ``Condition`` that it is about.
CONDITIONS: dict[str, type[ConditionConfig]] = {
    "text": TextConfig,
    "semantic": SemanticConfig,
    "label": LabelConfig,
}
_PARTS = {"text": "texts", "semantic": "segmentation", "label": "labels"}


@dataclass
class Encoded:
    """What a network is given of a batch of conditions; what there is none of is None."""

    tokens: Tensor | None = None
    """(B, L, C), to attend to across."""
    mask: Tensor | None = None
    """bool (B, L), true = a token to attend to."""
    cells: Tensor | None = None
    """(B, h*w, C), added to each cell."""
    vector: Tensor | None = None
    """(B, C), which drives the norms."""


class Conditioner(nn.Module):
    """A prior's conditions, encoded to the prior's width C.

    In training a row loses all its conditions with probability ``drop``; where there are several,
    each of them is also lost alone with that probability, so that the prior knows any subset.
    ``has_memory``: whether there are tokens to attend to across; without ``memory`` there are none.
    """

    def __init__(
        self,
        configs: Sequence[ConditionConfig],
        width: int,
        grid: tuple[int, int],
        drop: float = 0.1,
        memory: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= drop < 1:
            raise ValueError(f"the share of dropped conditions must be in [0, 1), got {drop}")
        self.drop, self.grid, self.width = drop, grid, width
        names = [name_of(config) for config in configs]
        if len(set(names)) < len(names):
            raise ValueError(f"a prior takes each kind of condition once, got {', '.join(names)}")
        self.encoders = nn.ModuleDict(
            {name: config.build(width) for name, config in zip(names, configs, strict=True)}
        )
        self.has_memory = memory and "text" in self.encoders
        if "text" in self.encoders and not memory:
            self.encoders["text"].leave_out_tokens()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the conditions: "text", "semantic", "label"."""
        return tuple(self.encoders)

    @property
    def has_vector(self) -> bool:
        """Whether there is a vector."""
        return "text" in self.encoders or "label" in self.encoders

    @property
    def has_cells(self) -> bool:
        """Whether there is something for each cell."""
        return "semantic" in self.encoders

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        """Before training: the words that a text condition is to know. No text: nothing is done."""
        if "text" in self.encoders:
            self.encoders["text"].learn_vocabulary(texts)

    def read(self, text: str) -> Reading:
        """How much of a text is taken in. Raises ValueError if the prior takes no text."""
        if "text" not in self.encoders:
            raise ValueError(f"this prior takes no text, but {self._taken()}")
        return self.encoders["text"].read(text)

    def check(self, condition: Condition | None, rows: int, *, surplus: bool = False) -> None:
        """Raises ValueError, one sentence, for a condition that cannot be used for ``rows``.

        ``surplus``: whether parts that the prior does not take are fine.
        """
        if condition is None:
            return
        for name, part in _PARTS.items():
            value = getattr(condition, part)
            if value is None or (surplus and name not in self.encoders):
                continue
            if name not in self.encoders:
                raise ValueError(f"this prior takes no {name} condition, but {self._taken()}")
            self.encoders[name].check(value)
        if len(condition) not in (0, 1, rows):
            raise ValueError(
                f"conditions must be 1 or as many as the {rows} pictures, got {len(condition)}"
            )

    def encode(
        self,
        condition: Condition | None,
        batch: int,
        generator: torch.Generator | None = None,
        *,
        grid: tuple[int, int] | None = None,
        guided: bool = False,
    ) -> Encoded:
        """Encode a condition for ``batch`` rows; parts that are not taken are passed over.

        A single condition holds for all rows, None for none. ``generator`` decides which rows
        lose theirs, in training only. ``guided`` returns 2 x batch rows, the second half without
        condition.
        """
        device = next(self.parameters()).device if self.encoders else torch.device("cpu")
        if condition is not None:
            condition = condition.to(device)
            if len(condition) == 1 and batch > 1:
                condition = condition.repeat(batch)
        if guided and condition is not None:
            condition = condition.repeat(2)
        rows = 2 * batch if guided else batch
        dropped = self._dropped(rows, generator, device)
        if guided:
            dropped[:, batch:] = True
        out = Encoded()
        for (name, encoder), lost in zip(self.encoders.items(), dropped, strict=True):
            value = None if condition is None else getattr(condition, _PARTS[name])
            if name == "semantic":
                out.cells = encoder(value, lost, grid or self.grid)
                continue
            if name == "text":
                out.tokens, out.mask, vector = encoder(value, lost)
            else:
                vector = encoder(value, lost)
            out.vector = vector if out.vector is None else out.vector + vector
        return out

    def _dropped(
        self, rows: int, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        """Which rows lose which condition: bool (conditions, rows)."""
        count = len(self.encoders)
        if not self.training or not self.drop or not count:
            return torch.zeros(count, rows, dtype=torch.bool, device=device)
        source = generator.device if generator is not None else device
        lost = torch.rand(count + 1, rows, generator=generator, device=source) < self.drop
        lost = lost.to(device)
        return lost[1:] | lost[:1] if count > 1 else lost[:1]

    def _taken(self) -> str:
        return " and ".join(self.encoders) or "no condition at all"


def name_of(config: ConditionConfig) -> str:
    """What config.json calls a condition."""
    return next(name for name, kind in CONDITIONS.items() if isinstance(config, kind))

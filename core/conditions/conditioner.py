"""The encoder of a prior's conditions, each of which can be dropped for guidance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .condition import Condition
from .label import LabelConfig
from .semantic import SemanticConfig
from .text import TextConfig, TextCoverage, TextEncoder

ConditionConfig = TextConfig | SemanticConfig | LabelConfig

CONDITIONS: dict[str, type[ConditionConfig]] = {
    "text": TextConfig,
    "semantic": SemanticConfig,
    "label": LabelConfig,
}
"""The config classes by the names in config.json. A name that was published never changes."""
_PARTS = {"text": "texts", "semantic": "segmentation", "label": "labels"}  # of a Condition


@dataclass
class EncodedCondition:
    """The condition of B pictures, encoded to the prior's width C.

    Fields are None when the prior does not use that kind of condition.
    """

    tokens: Tensor | None = None
    """(B, L, C), the memory of the cross-attention."""
    mask: Tensor | None = None
    """bool (B, L), true = attend to the token."""
    cells: Tensor | None = None
    """(B, h*w, C), added to each cell."""
    vector: Tensor | None = None
    """(B, C), which drives the norms."""


class Conditioner(nn.Module):
    """The encoder of a prior's conditions to the prior's width C.

    In training, all conditions of a row are dropped with probability ``drop``. Of several
    conditions, each is also dropped alone with that probability, so that the prior learns every
    subset. Without ``memory``, a text gives a vector but no tokens.
    """

    encoders: nn.ModuleDict
    has_memory: bool
    """True if there are tokens for the cross-attention."""

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
            raise ValueError(f"drop, a share of the pictures, must be in [0, 1), got {drop}")
        self.drop, self.grid, self.width = drop, grid, width
        names = [name_of(config) for config in configs]
        if len(set(names)) < len(names):
            raise ValueError(
                f"a prior has each kind of condition at most once, got {', '.join(names)}"
            )
        self.encoders = nn.ModuleDict(
            {name: config.build(width) for name, config in zip(names, configs, strict=True)}
        )
        self.has_memory = memory and self._text is not None
        if self._text is not None and not memory:
            self._text.remove_tokens()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the conditions: "text", "semantic", "label"."""
        return tuple(self.encoders)

    @property
    def has_vector(self) -> bool:
        """True if a condition gives a vector."""
        return "text" in self.encoders or "label" in self.encoders

    @property
    def has_cells(self) -> bool:
        """True if a condition gives a feature per cell."""
        return "semantic" in self.encoders

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        """Set the vocabulary of a text condition, before training; without one, do nothing."""
        if self._text is not None:
            self._text.learn_vocabulary(texts)

    def coverage(self, text: str) -> TextCoverage:
        """Return how much of a text the prior uses. Raises ValueError if it takes no text."""
        if self._text is None:
            raise ValueError(f"this prior takes no text, but {self._taken()}")
        return self._text.coverage(text)

    def check(self, condition: Condition | None, rows: int, *, allow_unused: bool = False) -> None:
        """Raise ValueError, one sentence, unless a condition can be used for ``rows`` pictures.

        With ``allow_unused``, it may have parts that the prior does not take.
        """
        if condition is None:
            return
        for name, part in _PARTS.items():
            value = getattr(condition, part)
            if value is None or (allow_unused and name not in self.encoders):
                continue
            if name not in self.encoders:
                raise ValueError(f"this prior takes no {name} condition, but {self._taken()}")
            encoder: Any = self.encoders[name]
            encoder.check(value)
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
    ) -> EncodedCondition:
        """Encode a condition for ``batch`` rows; parts that the prior does not take are ignored.

        A condition of a single row is used for all rows. In training, ``generator`` draws the rows
        whose conditions are dropped. ``guided`` returns 2 x ``batch`` rows, the second half without
        condition. ``grid`` is that of the cells, by default the prior's.
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
        encoded = EncodedCondition()
        for (name, encoder), lost in zip(self.encoders.items(), dropped, strict=True):
            value = None if condition is None else getattr(condition, _PARTS[name])
            if name == "semantic":
                encoded.cells = encoder(value, lost, grid or self.grid)
                continue
            if name == "text":
                encoded.tokens, encoded.mask, vector = encoder(value, lost)
            else:
                vector = encoder(value, lost)
            encoded.vector = vector if encoded.vector is None else encoded.vector + vector
        return encoded

    @property
    def _text(self) -> TextEncoder | None:
        encoders = self.encoders.values()
        return next((each for each in encoders if isinstance(each, TextEncoder)), None)

    def _dropped(
        self, rows: int, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        """Return bool (conditions, rows), true where a row's condition is dropped."""
        count = len(self.encoders)
        if not self.training or not self.drop or not count:
            return torch.zeros(count, rows, dtype=torch.bool, device=device)
        source = generator.device if generator is not None else device
        lost = torch.rand(count + 1, rows, generator=generator, device=source) < self.drop
        lost = lost.to(device, non_blocking=True)
        return lost[1:] | lost[:1] if count > 1 else lost[:1]

    def _taken(self) -> str:
        return " and ".join(self.encoders) or "no condition at all"


def name_of(config: ConditionConfig) -> str:
    """Return the name of a condition in config.json."""
    return next(name for name, kind in CONDITIONS.items() if isinstance(config, kind))

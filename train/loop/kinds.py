"""The methods by which the runs of tokenizers and of priors differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

from torch import Tensor

from regvq.data import Dataset
from regvq.data.token_shards import TokenShards

from .contents import Contents, pictures_identity


class RunParts(ABC):
    """The batches, the step, the figures and the files of a kind of run."""

    @abstractmethod
    def _stream(self, step: int, last: int) -> Iterator[Sized]:
        """Yield the batches of steps ``step`` to ``last`` - 1; their len is the number of
        pictures."""

    @abstractmethod
    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Take one optimizer step; return the loss terms, detached."""

    @abstractmethod
    def _figures(self, losses: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, str]]:
        """Return the figures of a step for the log, and those for the progress bar. Collective."""

    @abstractmethod
    def _export(self, bundle: Path, step: int, final: bool) -> None:
        """Write sample pictures and the bundle, on the main process only; ``final``: the last.

        It is a function of the saved state, and is called again if it was interrupted. The bundle
        is written last.
        """

    def _measure(self) -> dict[str, float]:
        """Return the figures that a save adds to the log, on the main process only."""
        return {}

    def _validate(self) -> dict[str, float]:
        """Return the figures of the averaged weights on the whole held-out set. Collective."""
        return {}

    def _score(self, row: Mapping[str, Any]) -> float | None:
        """Return a number that is larger for a better row of the log; None without figures of
        held-out pictures."""
        return None

    def _export_best(self, bundle: Path, step: int) -> None:
        """Write the bundle of the best checkpoint so far, on the main process only."""
        return

    def _warning(self, figures: Mapping[str, float], step: int) -> str | None:
        """Return a sentence, with the remedy, if the figures of a step are those of a problem."""
        return None

    def _facts(self) -> dict[str, str]:
        """Return what the run is going to do, by name, to be printed at its start."""
        return {}

    def _further_state(self) -> dict[str, Tensor]:
        """Return tensors that are saved beside the parts. Collective."""
        return {}

    def _restore_further(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back the tensors of ``_further_state``; a state of before may lack them."""
        return

    def contents(self) -> Contents:
        """Return the identity of the run's pictures, which may move, but must not change."""
        return pictures_identity(self._pictures())

    @abstractmethod
    def _pictures(self) -> Dataset | TokenShards:
        """Return the data that the run draws from."""

"""Logits that are not finite: on a GPU, they are looked at once, before the last step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import CheckpointError
from core.priors.categorical import FiniteLogits, sample_categorical
from tests.core.priors.small_priors import built


@pytest.fixture
def only_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect logits on the CPU as on a GPU, where nothing is raised before ``check``."""

    def add(self: FiniteLogits, largest: Tensor) -> None:
        found = torch.isfinite(largest).all()
        self._all = found if self._all is None else self._all & found

    monkeypatch.setattr(FiniteLogits, "add", add)


@pytest.mark.usefixtures("only_collected")
@pytest.mark.parametrize(
    ("kind", "steps"), [("autoregressive", 12), ("diffusion", 3), ("masked", 3)]
)
def test_the_last_step_of_a_diverged_prior_is_never_shown(kind: str, steps: int) -> None:
    prior = built(kind)
    with torch.no_grad():
        prior.network.head.bias[0] = torch.nan
    shown = prior.sample(temperature=0.0, steps=steps)
    assert [next(shown).done for _ in range(steps - 1)] == list(range(1, steps))
    with pytest.raises(CheckpointError, match="not finite"):
        next(shown)


@pytest.mark.usefixtures("only_collected")
@pytest.mark.parametrize("how", [{}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0.0}])
def test_a_draw_alone_looks_at_its_logits_at_once(how: dict[str, Any]) -> None:
    logits = torch.randn(4, 9)
    logits[1, 4] = torch.nan
    with pytest.raises(CheckpointError, match="not finite"):
        sample_categorical(logits, **how)

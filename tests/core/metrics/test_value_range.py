"""The test by gray pictures of which value range a tokenizer has."""

from __future__ import annotations

import pytest
from torch import Tensor

from core.metrics.value_range import range_warning


class Network:
    """Copies pixels within its own range and cannot paint beyond it, as trained decoders."""

    def __init__(self, low: float, stated: str) -> None:
        self.low, self.stated = low, stated

    def reconstruct(self, images: Tensor) -> Tensor:
        inside = images if self.stated == "signed" else (images + 1) / 2
        painted = inside.clamp(self.low, 1)
        return (painted if self.stated == "signed" else painted * 2 - 1).clamp(-1, 1)


def test_a_tokenizer_of_zero_to_one_that_is_fed_minus_one_to_one_is_noticed() -> None:
    warning = range_warning(Network(0.0, "signed"), "signed")
    assert warning is not None and "--range unit" in warning


@pytest.mark.parametrize(("low", "stated"), [(-1.0, "signed"), (0.0, "unit"), (-1.0, "unit")])
def test_others_are_not(low: float, stated: str) -> None:
    assert range_warning(Network(low, stated), stated) is None

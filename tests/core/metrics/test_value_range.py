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


class Grays:
    """A tokenizer that is off by ``signed`` on grays in [-1, 1] and by ``unit`` in [0, 1].

    Its second answer is to pictures in [0, 1], and is off by ``unit`` after it is mapped back.
    """

    def __init__(self, signed: float, unit: float) -> None:
        self.signed, self.unit, self.seen = signed, unit, []

    def reconstruct(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images + self.signed if len(self.seen) == 1 else images + self.unit / 2


@pytest.mark.parametrize(
    ("signed", "unit", "warned"),
    [
        (0.149, 0.0, False),  # the stated range is good enough
        (0.151, 0.0, True),
        (0.5, 0.18, True),
        (0.5, 0.3, False),  # the other one is not twice as good
        (0.16, 0.1, False),
        (-0.4, 0.1, True),
        (-0.149, 0.0, False),
    ],
)
def test_the_other_range_must_be_twice_as_good(signed: float, unit: float, warned: bool) -> None:
    tokenizer = Grays(signed, unit)
    words = range_warning(tokenizer, "signed")
    assert (words is not None) == warned
    first, second = tokenizer.seen
    assert first.shape == (4, 3, 64, 64)
    assert first[:, 1, 5, 9].tolist() == pytest.approx([-0.8, -0.4, 0.4, 0.8])
    assert second.flatten(1)[:, 0].tolist() == pytest.approx([0.1, 0.3, 0.7, 0.9])
    if words is not None:
        assert f"mean error of {abs(signed):.2f} in the range signed" in words
        assert f"and of {unit:.2f} in the range unit" in words


def test_pictures_beyond_the_range_count_as_white() -> None:
    """Mapped back, the second answer is cut to [-1, 1], as it would be shown."""

    class Bright(Grays):
        def reconstruct(self, images: Tensor) -> Tensor:
            self.seen.append(images)
            return images + 2.5 if len(self.seen) == 1 else images.clamp(0.9) * 50

    words = range_warning(Bright(0, 0), "signed")
    # All is white: off by 1.8, 1.4, 0.6 and 0.2, which is twice as good as 2.5.
    assert words is not None and "and of 1.00 in the range unit" in words

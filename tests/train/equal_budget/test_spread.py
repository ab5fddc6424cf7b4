"""The spread between seeds, means over them, and the differences that it decides."""

from __future__ import annotations

import math
from statistics import stdev

import pytest

from train.equal_budget.spread import Spread, averaged, spread


def row(name: str, fd: float, **more: float | None) -> dict:
    return {"name": name, "fd": fd, "generation_fd": None, **more}


ROWS = [
    row("vqgan-fast", 100.0, generation_fd=5.0), row("vqgan-seed1", 104.0),
    row("vqgan-seed2", 105.0), row("simvq-fast", 200.0), row("simvq-seed1", 206.0),
    row("regvq", 150.0), row("regvq-fast", 7.0),
]  # fmt: skip


def test_the_spread_is_pooled_over_methods():
    found = spread(ROWS).deviations
    squares = 2 * stdev([100, 104, 105]) ** 2 + stdev([200, 206]) ** 2
    assert found["fd"] == pytest.approx(math.sqrt(squares / 3))
    assert spread(ROWS).freedom == {"fd": 3}
    assert "generation_fd" not in found and "psnr" not in found
    assert spread([row("vqgan", 1.0), row("vqgan-fast", 2.0)]).deviations == {}


def test_means_over_seeds_stand_in_the_row_of_the_first():
    found = averaged(ROWS)
    assert set(found) == {"vqgan-fast", "simvq-fast", "regvq", "regvq-fast"}
    assert found["vqgan-fast"]["fd"] == pytest.approx(103)
    assert found["vqgan-fast"]["seeds"] == {"fd": 3, "generation_fd": 1}
    assert found["regvq-fast"] == ROWS[-1]


def test_each_codebook_size_has_means_of_its_own():
    large = [row("vqgan-16k-fast", 300.0), row("vqgan-16k-seed1", 308.0)]
    found = averaged([*ROWS, *large])
    assert found["vqgan-fast"] == averaged(ROWS)["vqgan-fast"]
    assert found["vqgan-16k-fast"]["fd"] == pytest.approx(304)
    assert "vqgan-16k-seed1" not in found
    squares = 2 * stdev([100, 104, 105]) ** 2 + stdev([200, 206]) ** 2 + stdev([300, 308]) ** 2
    assert spread([*ROWS, *large]).deviations["fd"] == pytest.approx(math.sqrt(squares / 4))


def test_a_difference_is_decided_if_chance_seldom_exceeds_it():
    seen, found = spread(ROWS), averaged(ROWS)
    deviation = seen.deviations["fd"]
    student = 3.18  # 3 degrees of freedom
    assert seen.threshold("fd") == pytest.approx(student * math.sqrt(2) * deviation)
    one = spread(ROWS[3:5])  # two runs show little about the spread
    assert one.threshold("fd") == pytest.approx(12.71 * 6)
    many = Spread({"fd": 1.0}, {"fd": 99})
    assert many.threshold("fd", 1) == pytest.approx(2.23)
    for factor, wanted in ((1.01, True), (0.99, None), (-0.99, None), (-1.01, False)):
        gap = factor * seen.threshold("fd")
        assert seen.lower("fd", row("a", 1000.0), row("b", 1000.0 + gap)) is wanted
    # Means over three seeds and over two: 1/3 + 1/2 instead of 2.
    limit = student * deviation * math.sqrt(5 / 6)
    mean = found["vqgan-fast"]
    for factor, wanted in ((1.01, True), (0.99, None)):
        rival = found["simvq-fast"] | {"fd": mean["fd"] + factor * limit}
        assert seen.lower("fd", mean, rival) is wanted
    generation = [row("a", 1.0, generation_fd=1.0), row("b", 1.0, generation_fd=9e9)]
    assert seen.lower("generation_fd", *generation) is None

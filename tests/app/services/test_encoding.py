"""Pictures in the forms that a page loads."""

from __future__ import annotations

import numpy as np

from app.services.encoding import drawn_once


def test_equal_arrays_are_drawn_once() -> None:
    calls: list[np.ndarray] = []

    def draw(array: np.ndarray) -> np.ndarray:
        calls.append(array)
        return np.broadcast_to(array.astype(np.uint8), (2, 2, 3)).copy()

    one, two = np.array([1, 2, 3]), np.array([3, 2, 1])
    first = drawn_once(draw, "chart", one)
    assert drawn_once(draw, "chart", one.copy()) is first and len(calls) == 1
    assert drawn_once(draw, "chart", two).data != first.data
    assert drawn_once(draw, "chart", one.astype(np.int32)).data == first.data
    assert drawn_once(draw, "another", one).name == "another" and len(calls) == 4

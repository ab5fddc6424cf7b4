"""Example maps."""

from __future__ import annotations

import numpy as np

from app.services import generation_examples
from app.services.semantic_maps import Legend
from core.data.datasets.facades import CLASSES as PARTS
from core.data.datasets.facades import Facades


def test_facade_maps_use_the_classes_of_facades() -> None:
    known = Legend(PARTS, tuple(map(tuple, Facades.palette.tolist())))
    made = generation_examples.facade_maps(known, 64, 96)
    assert len(made) == 4
    for _, ids in made:
        assert ids.shape == (96, 64)
        assert {"facade", "window", "door"} <= {PARTS[i] for i in np.unique(ids)}
    assert generation_examples.facade_maps(Legend(("sky",), ((0, 0, 0),)), 8, 8) == ()

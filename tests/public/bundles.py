"""Small bundles for an explorer in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.analysis.atlas import build_atlas
from core.quantizers import RegVQConfig, VQConfig
from tests.app.conftest import SIZE, tiny
from tests.helpers.tiny_priors import prior_bundles


def small_bundles(home: Path) -> Path:
    """Write two tokenizers and two priors of one of them into ``home``, and return it."""
    tokenizer = tiny(RegVQConfig(size=SIZE), seed=0)
    counts = np.random.default_rng(0).integers(1, 500, SIZE)
    atlas = build_atlas(tokenizer, counts=counts, source="a test's pictures")
    source = home.parent / "source" / "tiny-regvq"
    tokenizer.save_pretrained(source, card="# Tiny\n\nA card for the tests.", atlas=atlas)
    prior_bundles(home, source, ("words", "both"))
    tiny(VQConfig(size=SIZE), seed=1).save_pretrained(home / "tiny-vq")
    return home

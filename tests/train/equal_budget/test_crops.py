"""Kept crops: the same as the data set's draws."""

from __future__ import annotations

import torch

from core.data import open_dataset
from train.equal_budget.crops import KeptDraws, keep_draws


def test_kept_draws_equal_the_data_sets_draws(place, tmp_path):
    data = open_dataset("folder", place / "photos", size=32, seed=3, crop=(0.0, 0.6))
    file = keep_draws(data, 5, tmp_path / "draws.npy")
    kept = KeptDraws(file)
    for k in range(5):
        assert torch.equal(kept.draw(k).image, data.draw(k).image)
    other = open_dataset("folder", place / "photos", size=32, seed=4, crop=(0.0, 0.6))
    assert KeptDraws(keep_draws(other, 5, tmp_path / "other.npy")).digest() != kept.digest()

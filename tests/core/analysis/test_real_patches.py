"""Real patches of codes: chosen evenly, cut at the code's places, kept small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.analysis.real_patches import gather_patches, unpack_patches
from core.images import to_tensor

SIDE = 8


class Grays:
    """A tokenizer without weights: the code of a cell is its mean gray, in steps of 8."""

    downsampling, codebook_size, device = SIDE, 32, torch.device("cpu")
    quantizer = None

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), SIDE)[:, 0]
        return ((cells + 1) * 127.5 / 8).long().clamp(0, 31)

    def visible(self, images: torch.Tensor) -> torch.Tensor:
        return images


def plaid(codes: np.ndarray) -> torch.Tensor:
    """Return a picture of flat cells of these codes (h, w)."""
    gray = (codes * 8 + 4).astype(np.uint8).repeat(SIDE, 0).repeat(SIDE, 1)
    return to_tensor(np.repeat(gray[..., None], 3, axis=2))


def test_every_patch_is_cut_at_a_place_of_its_code() -> None:
    drawn = np.random.default_rng(0)
    grids = [drawn.integers(0, 30, (5, 6)) for _ in range(4)]
    found = gather_patches(Grays(), map(plaid, grids), source="plaids", per_code=3)
    tiles, starts = unpack_patches(found)
    many = np.bincount(np.concatenate([grid.ravel() for grid in grids]), minlength=32)
    np.testing.assert_array_equal(np.diff(starts), np.minimum(many, 3))
    assert tiles.shape[1:] == (24, 24, 3) and int(found["patches_context"]) == 1
    assert str(found["patches_source"]) == "plaids" and int(found["patches_pictures"]) == 4
    for code in range(32):
        for tile in tiles[starts[code] : starts[code + 1]]:
            middle = tile[9:15, 9:15].mean()
            assert abs(middle - (code * 8 + 4)) < 4  # lossy, but the code's own gray


def test_different_pictures_come_first_and_the_choice_is_even() -> None:
    one = np.zeros((4, 4), int)
    marks = [plaid(np.where(np.arange(16).reshape(4, 4) % 4 == 0, 10, k)) for k in (20, 22, 24)]
    # Code 10 occurs four times in each of three pictures: its patches are from all three.
    found = gather_patches(Grays(), marks, source="", per_code=3)
    tiles, starts = unpack_patches(found)
    around = sorted(int(tile[10:14, 22].mean() // 8) for tile in tiles[starts[10] : starts[11]])
    assert around == [20, 22, 24]
    # Among many pictures every one has the same chance: not only the first ones are kept.
    kept = []
    for seed in range(40):
        pictures = (plaid(one + np.array([[0, k, k, k]])) for k in range(1, 21))
        tiles, starts = unpack_patches(
            gather_patches(Grays(), pictures, source="", per_code=1, seed=seed)
        )
        kept.append(int(tiles[0][10:14, 22].mean() // 8))
    assert len(set(kept)) > 10 and 7 < np.mean(kept) < 14


def test_the_same_seed_chooses_the_same_patches() -> None:
    grids = [np.random.default_rng(k).integers(0, 30, (5, 6)) for k in range(3)]
    a, b = (gather_patches(Grays(), map(plaid, grids), source="") for _ in range(2))
    np.testing.assert_array_equal(a["patches"], b["patches"])


@pytest.mark.parametrize("budget", [20_000, 4_000, 900])
def test_the_budget_is_kept(budget: int) -> None:
    drawn = np.random.default_rng(0)
    noise = [torch.from_numpy(drawn.uniform(-1, 1, (3, 64, 64)).astype(np.float32))]
    steps = [plaid(drawn.integers(0, 32, (8, 8))) + 0.5 * noise[0] for _ in range(4)]
    found = gather_patches(Grays(), [p.clamp(-1, 1) for p in steps], source="", budget=budget)
    assert found["patches"].size <= budget
    tiles, starts = unpack_patches(found)
    assert len(tiles) == starts[-1] > 0


def test_large_cells_are_reduced_and_invalid_input_is_refused() -> None:
    class Coarse(Grays):
        downsampling = 16

        def encode(self, images: torch.Tensor) -> torch.Tensor:
            return super().encode(images)[:, ::2, ::2]

    found = gather_patches(Coarse(), [plaid(np.full((4, 4), 7))], source="")
    assert int(found["patches_side"]) == 32
    with pytest.raises(ValueError, match="at least one picture, and there is none"):
        gather_patches(Grays(), [], source="")
    with pytest.raises(ValueError, match="1 patch or more"):
        gather_patches(Grays(), [], source="", per_code=0)
    assert unpack_patches({"counts": np.zeros(3)}) is None
    with pytest.raises(ValueError, match="cannot be read"):
        unpack_patches({**found, "patches": np.arange(90, dtype=np.uint8)})

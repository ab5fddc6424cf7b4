"""Patches: cells merged into positions and split again."""

from __future__ import annotations

import torch

from core.networks.patchify import NeighborMixing, Patches


def test_patches_merge_cells_and_split_them_again():
    torch.manual_seed(0)
    patches = Patches(2, 3)
    cells = torch.randn(2, 3 * 5, 3)
    positions, mixed = patches.merge(cells, (3, 5))
    assert positions.shape == (2, 2 * 3, 3)
    torch.testing.assert_close(mixed, patches.before(cells, (3, 5)))
    # The second patch of the second row: cells (2, 2) and (2, 3), and two beyond the edge.
    square = torch.zeros(2, 2, 2, 3)
    square[:, 0] = mixed.view(2, 3, 5, 3)[:, 2, 2:4]
    torch.testing.assert_close(positions[:, 4], patches.join(square.flatten(1)))
    parts = patches.part(positions).view(2, 2, 3, 2, 2, 3)  # patches, then the cells of each
    split = torch.stack(
        [parts[:, r // 2, c // 2, r % 2, c % 2] for r in range(3) for c in range(5)], 1
    )
    wanted = patches.norm(patches.after(mixed + split, (3, 5)))
    torch.testing.assert_close(patches.split(positions, mixed, (3, 5)), wanted)


def test_a_cell_sees_its_neighbors_only():
    torch.manual_seed(0)
    mixing = NeighborMixing(4)
    cells = torch.randn(1, 4 * 5, 4)
    moved = cells.clone()
    moved[0, 7] += 1.0  # row 1, column 2
    changed = (mixing(moved, (4, 5)) - mixing(cells, (4, 5))).abs().amax(2).view(4, 5) > 1e-6
    assert changed.nonzero().tolist() == [[r, c] for r in (0, 1, 2) for c in (1, 2, 3)]

"""Code maps side by side and the change over training, in a real browser on shipped checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.services import checkpoints
from app.tabs.code_map_gallery import PILLS
from tests.e2e.harness import choose, open_codebook, open_explorer, open_map

pytestmark = pytest.mark.browser


def pictures(page: Any) -> list[str]:
    """Return the pictures of the maps side by side."""
    return page.evaluate(
        "() => document.querySelector('#gallery .rv-figure-plot').layout.images"
        ".map((one) => one.source)"
    )


def test_other_checkpoints_are_shown_beside_and_follow_the_choices(app: str, visit: Any) -> None:
    names = checkpoints.names()
    if len(names) < 2:
        pytest.skip("only one checkpoint is shipped")
    page = visit().page
    open_explorer(page, app)
    open_codebook(page)
    history = checkpoints.bundle(names[0]).atlas.get("history_steps")
    state = "none" if history is None or len(history) < 2 else "ready"
    page.locator("#drift").scroll_into_view_if_needed()
    page.wait_for_selector(f'#drift .rv-figure[data-state="{state}"]')
    open_map(page)
    if len(names) - 1 > PILLS:  # a list in which one types a part of the name
        page.locator("#gallery-list input").fill(names[1])
        page.get_by_role("option", name=names[1], exact=True).click()
    else:
        page.locator("#gallery-choice").get_by_label(names[1], exact=True).check(force=True)
    page.locator("#gallery").scroll_into_view_if_needed()
    page.wait_for_selector('#gallery .rv-figure[data-codes="2"][data-method="pca"]')
    usage = pictures(page)
    rows = page.evaluate(
        "name => document.querySelector('#gallery .rv-figure-plot').data"
        ".find((one) => one.name === name).customdata.map((row) => [row[0], row[1]])",
        names[1],
    )
    counts = checkpoints.bundle(names[1]).atlas["counts"]
    shown = np.array(rows, dtype=int)
    np.testing.assert_array_equal(counts[shown[:, 0]], shown[:, 1])
    choose(page, "map-color", "Color of the tile")
    page.wait_for_selector('#gallery .rv-figure[data-color="mean"]')
    assert all(one != other for one, other in zip(pictures(page), usage, strict=True))
    choose(page, "map-layout", "UMAP, 15 neighbors")
    page.wait_for_selector('#gallery .rv-figure[data-method="umap"]')
    # A click on the other one's name makes it the checkpoint of all tabs.
    page.locator("#gallery .annotation-text").nth(1).click()
    page.wait_for_function(f"document.querySelector('#checkpoint input').value === {names[1]!r}")

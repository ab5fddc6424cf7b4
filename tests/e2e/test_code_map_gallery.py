"""Code maps side by side and the change over training, in a real browser on shipped checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.services import checkpoints
from tests.e2e.harness import open_codebook, open_explorer, open_map

pytestmark = pytest.mark.browser


def pixels(page: Any, index: int) -> np.ndarray:
    data = (
        page.locator(".rv-gallery canvas")
        .nth(index)
        .evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    )
    return np.array(data, np.uint8)


def test_other_checkpoints_are_shown_beside_and_follow_the_choices(app: str, visit: Any) -> None:
    names = checkpoints.names()
    if len(names) < 2:
        pytest.skip("only one checkpoint is shipped")
    page = visit().page
    open_explorer(page, app)
    open_codebook(page)
    history = checkpoints.bundle(names[0]).atlas.get("history_steps")
    state = "none" if history is None else "ready"
    page.wait_for_selector(f'.rv-drift[data-state="{state}"]')
    open_map(page)
    page.locator("#gallery-choice").get_by_label(names[1], exact=True).check(force=True)
    page.wait_for_selector('.rv-gallery[data-maps="2"][data-method="pca"]')
    usage = [pixels(page, index) for index in range(2)]
    assert all(len(np.unique(one.reshape(-1, 4), axis=0)) > 30 for one in usage)
    cloud = page.locator(".rv-codemap")
    cloud.get_by_role("radio", name="Color").click()
    page.wait_for_selector('.rv-gallery[data-color="mean"]')
    assert all(np.any(pixels(page, index) != usage[index]) for index in range(2))
    cloud.get_by_role("radio", name="UMAP").click()
    page.wait_for_selector('.rv-gallery[data-method="umap"]')
    # A click on the other one's name makes it the checkpoint of all tabs.
    page.locator(".rv-gallery figcaption button").click()
    page.wait_for_function(f"document.querySelector('#checkpoint input').value === {names[1]!r}")

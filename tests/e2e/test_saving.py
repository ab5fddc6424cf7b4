"""Saving: pictures, tokens with their edits, generated grids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.harness import PATIENCE, open_explorer, open_generate

pytestmark = pytest.mark.browser


def save(page: Any, name: str) -> Any:
    with page.expect_download() as started:
        page.get_by_role("button", name=name, exact=True).click()
    return started.value


def test_a_reconstruction_and_its_tokens_are_saved(app: str, visit: Any) -> None:
    page = visit().page
    open_explorer(page, app)
    shown = page.locator(".rv-over").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    picture = save(page, "Reconstruction, PNG")
    assert picture.suggested_filename == "reconstruction.png"
    assert list(Image.open(picture.path()).size) == shown
    before = np.load(save(page, "Tokens, .npy").path(), allow_pickle=False)
    found = json.loads(Path(save(page, "Tokens, JSON").path()).read_text(encoding="utf-8"))
    assert before.dtype == np.uint32 and before.shape == (found["rows"], found["columns"])
    np.testing.assert_array_equal(found["ids"], before)
    assert before.max() < found["codes"] and found["edited"] == []
    # An edit is part of what is saved.
    page.locator(".rv-goto [name=row]").fill("3")
    page.locator(".rv-goto [name=column]").fill("4")
    page.locator(".rv-goto button").click()
    page.locator(".rv-token [data-put][aria-pressed=false]").first.click()
    page.wait_for_selector('.rv-stage[data-edited="1"]')
    after = np.load(save(page, "Tokens, .npy").path(), allow_pickle=False)
    changed = np.argwhere(after != before)
    assert len(changed) == 1
    found = json.loads(Path(save(page, "Tokens, JSON").path()).read_text(encoding="utf-8"))
    assert found["edited"] == changed.tolist()


def test_generated_pictures_are_saved_as_one_grid(app: str, visit: Any) -> None:
    page = visit().page
    page.set_default_timeout(PATIENCE)
    open_explorer(page, app)
    open_generate(page)
    page.locator("#prompts .rv-chips button").first.click()
    page.wait_for_function("() => document.querySelector('#prompt textarea').value")
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_selector('.rv-results[data-state="done"]')
    one = page.locator(".rv-tile img").first.evaluate("image => image.naturalWidth")
    grid = Image.open(save(page, "All pictures, PNG").path())
    assert grid.size == (2 * one, 2 * one)
    assert len(np.unique(np.asarray(grid.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    found = json.loads(Path(save(page, "Tokens, JSON").path()).read_text(encoding="utf-8"))
    ids = np.load(save(page, "Tokens, .npy").path(), allow_pickle=False)
    assert ids.dtype == np.uint32 and ids.shape == (4, found["rows"], found["columns"])
    np.testing.assert_array_equal(found["ids"], ids)
    assert found["figures"]["n"] == 4 and len(found["figures"]["seeds"]) == 4
    assert len({grid.tobytes() for grid in ids}) == 4

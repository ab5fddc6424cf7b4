"""Code maps side by side: the chart that the page gets, and refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from app import shell
from app.services import checkpoints, code_selection
from app.tabs import code_map_gallery
from core.analysis.embedding import pca_map
from core.tokenizer import Tokenizer
from tests.app.ui.test_plot import values

NAME, OTHER = "tiny-regvq", "tiny-vq"


def show(others: Any, layout: str = "pca", color: str = "usage", **more: Any) -> dict[str, Any]:
    return code_map_gallery.show(
        NAME, others, [], layout, color, more.get("code"), more.get("selection")
    )


def traces(value: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in value["figure"]["data"]}


def test_each_map_is_its_checkpoints_own() -> None:
    value = show([OTHER], code=5)
    for number, name in enumerate((NAME, OTHER), start=1):
        codes = Tokenizer.from_pretrained(checkpoints.bundle(name).path).quantizer.codebook()
        marks = traces(value)[name]
        rows = np.array(values(marks["customdata"]))
        order = np.argsort(rows[:, 0])
        places = np.stack([values(marks["x"]), values(marks["y"])], 1)[order]
        np.testing.assert_allclose(places, pca_map(codes.numpy(), 2), rtol=1e-6)
        norms = np.sqrt((codes.numpy().astype(float) ** 2).sum(1))
        np.testing.assert_allclose(rows[order, 4], norms, rtol=1e-5)
        assert marks["xaxis"] == ("x" if number == 1 else "x2")
    rings = [one for one in value["figure"]["data"] if one["name"] == "code 5"]
    assert [one["xaxis"] for one in rings] == ["x", "x2"]
    titles = [one["text"] for one in value["figure"]["layout"]["annotations"]]
    assert titles[0].startswith(f"<b>{NAME}</b><br>57 of 60 codes used")
    assert len(value["figure"]["layout"]["images"]) == 2
    # No UMAP is stored, and none is computed for this.
    umap = show([OTHER], "umap")
    assert "No UMAP is stored for tiny-regvq, tiny-vq" in umap["note"]
    assert traces(umap)[OTHER]["x"] == traces(value)[OTHER]["x"]


def test_one_selection_is_shown_in_all_maps() -> None:
    plain = show([OTHER])["figure"]["layout"]["images"]
    selection = code_selection.select(NAME, np.arange(10))
    chosen = show([OTHER], selection=selection)["figure"]["layout"]["images"]
    assert all(one["source"] != other["source"] for one, other in zip(plain, chosen, strict=True))


def test_none_is_drawn_until_another_is_chosen() -> None:
    assert show([])["none"] == show(None)["none"] == code_map_gallery.EMPTY
    # The checkpoint is not shown beside itself.
    assert show([NAME, OTHER, OTHER])["figure"]["layout"]["meta"]["codes"] == 2
    update, _ = code_map_gallery.choices(OTHER, [OTHER, "gone"], [])
    assert update["choices"] == [NAME] and update["value"] == []
    assert code_map_gallery.choices(NAME, [OTHER], [])[0]["value"] == [OTHER]


def test_many_checkpoints_are_in_a_list_with_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = code_map_gallery.choices(NAME, [OTHER], [])
    assert (few["visible"], many["visible"]) == (True, False)
    known = [OTHER, *(f"checkpoint-{number}" for number in range(code_map_gallery.PILLS))]
    monkeypatch.setattr("app.services.code_map.names", lambda: [NAME, *known])
    few, many = code_map_gallery.choices(NAME, [OTHER], [])
    assert (few["visible"], many["visible"]) == (False, True)
    assert many["choices"] == known and many["value"] == [OTHER] and few["value"] == []
    # What the hidden component holds is not shown.
    assert code_map_gallery.chosen(NAME, ["checkpoint-1"], [OTHER]) == [OTHER]
    monkeypatch.undo()
    assert code_map_gallery.chosen(NAME, [OTHER], ["checkpoint-1"]) == [OTHER]


def test_the_list_of_many_can_be_searched() -> None:
    listed = [
        block
        for block in shell.build_app().blocks.values()
        if isinstance(block, gr.Dropdown) and block.elem_id in ("gallery-list", "checkpoint")
    ]
    assert len(listed) == 2 and all(one.filterable for one in listed)


@pytest.mark.parametrize("name", ["../x", 3, None])
def test_an_unknown_checkpoint_is_refused(name: object) -> None:
    with pytest.raises(gr.Error, match="no checkpoint"):
        show([name])
    with pytest.raises(gr.Error, match="no checkpoint"):
        code_map_gallery.open_map(SimpleNamespace(name=name))
    assert code_map_gallery.open_map(SimpleNamespace(name=OTHER)) == OTHER

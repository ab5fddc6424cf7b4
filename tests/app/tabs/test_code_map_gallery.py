"""Code maps side by side: the values that the page gets, and refusals."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from app.services import checkpoints
from app.services.code_stats import dominant_classes
from app.tabs import code_map_gallery
from core.analysis.embedding import pca_map
from core.tokenizer import Tokenizer

NAME, OTHER = "tiny-regvq", "tiny-vq"


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_each_map_is_its_checkpoints_own() -> None:
    found = code_map_gallery.show(NAME, [OTHER])
    assert [one["checkpoint"] for one in found["maps"]] == [NAME, OTHER]
    for one in found["maps"]:
        codes = Tokenizer.from_pretrained(checkpoints.bundle(one["checkpoint"]).path)
        codes = codes.quantizer.codebook().numpy()
        np.testing.assert_array_equal(array(one["pca"], "<f4").reshape(60, 2), pca_map(codes, 2))
        np.testing.assert_allclose(
            array(one["norms"], "<f4"), np.sqrt((codes.astype(float) ** 2).sum(1)), rtol=1e-5
        )
        assert one["total"] == 60 and one["used"] == (array(one["counts"], "<f8") > 0).sum()
        assert one["umap"] is None  # none is stored, and none is computed for this
    assert found["maps"][0]["used"] == 57
    assert len(found["ramp"]) == 64


def test_none_is_drawn_until_another_is_chosen() -> None:
    assert code_map_gallery.show(NAME, []) == code_map_gallery.show(NAME, None) == {"maps": []}
    assert code_map_gallery.show(NAME, [OTHER], "Codebook") == gr.skip()
    # The checkpoint is not shown beside itself.
    assert len(code_map_gallery.show(NAME, [NAME, OTHER, OTHER])["maps"]) == 2
    update = code_map_gallery.choices(OTHER, [OTHER, "gone"])
    assert update["choices"] == [NAME] and update["value"] == []
    assert code_map_gallery.choices(NAME, [OTHER])["value"] == [OTHER]


def test_classes_of_each() -> None:
    found = code_map_gallery.show_classes(NAME, [OTHER])["classes"]
    assert set(found["of"]) == {NAME, OTHER}
    most, names, _ = dominant_classes(checkpoints.open_tokenizer(OTHER))
    np.testing.assert_array_equal(array(found["of"][OTHER], "u1"), np.where(most < 0, 255, most))
    assert found["names"] == names


@pytest.mark.parametrize("name", ["../x", 3, None])
def test_an_unknown_checkpoint_is_refused(name: object) -> None:
    with pytest.raises(gr.Error, match="no checkpoint called"):
        code_map_gallery.show(NAME, [name])
    with pytest.raises(gr.Error, match="no checkpoint called"):
        code_map_gallery.open_map(SimpleNamespace(name=name))

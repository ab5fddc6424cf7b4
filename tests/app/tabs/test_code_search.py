"""The search for codes: the lists that the page gets, and a sentence for bad input."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.guard.values import NOT_UPLOADED
from app.services import code_atlas, code_stats, scene_counts
from app.services import code_search as service
from app.services.checkpoints import bundle, open_tokenizer
from app.tabs import code_search
from core.analysis.code_search import oklab
from core.analysis.codes import paint_codes
from core.data import open_dataset
from core.images import open_picture, to_tensor
from core.tokenizer import Tokenizer
from tests.app.test_api import client, pixels  # noqa: F401  the fixture

NAME, PLAIN = "tiny-regvq", "tiny-vq"


def search(by: object, value: object, image: object = None, checkpoint: str = NAME) -> dict:
    return code_search.show_found(checkpoint, image, SimpleNamespace(by=by, value=value))


def codes(found: dict) -> list[int]:
    return [one["code"] for one in found["found"]]


def test_a_code_is_found_by_its_number() -> None:
    found = search("number", "17")
    assert codes(found) == [17] and found["value"] == 17
    tile = Image.open(io.BytesIO(base64.b64decode(found["found"][0]["tile"].split(",")[1])))
    np.testing.assert_array_equal(np.asarray(tile), bundle(NAME).atlas["paints"][17])


@pytest.mark.parametrize(
    ("by", "value", "words"),
    [
        ("number", "60", "The code must be a number from 0 to 59, not '60'."),
        ("number", "-1", "The code must be a number from 0 to 59"),
        ("number", "1.5", "The code must be a whole number"),
        ("number", "seven", "The code must be a number from 0 to 59, not 'seven'."),
        ("number", None, "The code must be a number"),
        ("color", "blue", "The color must be written as #rrggbb, not 'blue'."),
        ("color", 3, "The color must be written as #rrggbb"),
        ("color", "#12345", "The color must be written as #rrggbb"),
        ("patch", "7", 'The patch must be "row, column" of a token'),
        ("patch", [1, 2, 3], 'The patch must be "row, column" of a token'),
        ("patch", [99, 0], "The row must be a number from 0 to "),
        ("patch", "0, x", "The column must be a number from 0 to "),
        ("class", "castle", "There is no class called 'castle'; available: sky, "),
        ("class", 24, "There is no class called '24'"),
        ("name", "x", "The search must be one of number, color, patch, class"),
        ([], {}, "The search must be one of number"),
    ],
)
def test_bad_input_gets_a_sentence(by: object, value: object, words: str) -> None:
    assert words in search(by, value)["problem"]


def test_codes_are_found_by_the_mean_color_of_their_tiles(tokenizer: Tokenizer) -> None:
    colors = np.rint(paint_codes(tokenizer).mean(axis=(1, 2)))
    wanted = oklab(np.array([[0x50, 0x78, 0xC8]]))
    apart = np.linalg.norm(oklab(colors.astype(np.uint8)) - wanted, axis=1)
    found = search("color", "#5078C8")
    assert codes(found) == np.argsort(apart, kind="stable")[:12].tolist()
    assert found["value"] == "#5078c8" and "so far" not in found["sentence"]
    assert found["found"][0]["note"] == f"{apart.min():.3f}"


def test_only_painted_codes_are_found_by_color(monkeypatch: pytest.MonkeyPatch) -> None:
    known = code_stats.atlas(open_tokenizer(PLAIN))
    code_stats.PAINTER.stop()
    monkeypatch.setattr(known, "painted", np.zeros(60, bool))
    monkeypatch.setattr(known, "sequence", np.empty(0, np.int64))
    monkeypatch.setattr(code_stats.PAINTER, "want", lambda atlas: None)
    for module in (service, code_atlas):  # as if the codebook were large
        monkeypatch.setattr(module, "AT_ONCE", 10)
    assert (
        "No code of this checkpoint is painted yet"
        in search("color", "#ffffff", None, PLAIN)["problem"]
    )
    known.look([4, 9])
    found = search("color", "#ffffff", None, PLAIN)
    assert sorted(codes(found)) == [4, 9]
    assert "among the 2 codes painted so far" in found["sentence"]


@pytest.mark.parametrize("name", [NAME, PLAIN])
def test_a_patch_of_a_picture_finds_its_code(name: str, photograph: Path, bundles: Path) -> None:
    reference = Tokenizer.from_pretrained(bundles / name)
    ids = reference.encode(to_tensor(open_picture(photograph))[None])[0].numpy()
    for row, column in ((0, 0), (4, 7), (9, 12)):
        found = search("patch", [row, column], str(photograph), name)
        assert codes(found)[0] == ids[row, column] and len(set(codes(found))) == 12
        assert (
            f"row {row}, column {column} gets the first code, {ids[row, column]};"
            in (found["sentence"])
        )
    assert ("probability" in found["sentence"]) == (name == NAME)
    # The same as text, as an API client writes it.
    assert codes(search("patch", "9, 12", str(photograph), name)) == codes(found)


def test_a_class_finds_the_codes_that_cover_it(tokenizer: Tokenizer) -> None:
    drawn = open_dataset("scenes", size=64, seed=0, split="test")
    sky = drawn.classes.index("sky")
    pixels_of = np.zeros(60, int)
    for index in range(scene_counts.SCENES):
        sample = drawn[index]
        ids = tokenizer.encode(sample.image[None])[0].numpy()
        at = np.kron(ids, np.ones((8, 8), int))[:64, :64]
        pixels_of += np.bincount(at[sample.segmentation.numpy() == sky], minlength=60)
    found = search("class", "Sky")
    best = np.argsort(-pixels_of, kind="stable")[:12]
    assert codes(found) == [int(code) for code in best if pixels_of[code]]
    assert found["found"][0]["note"] == f"{100 * pixels_of.max() / pixels_of.sum():.2g} %"
    assert "in 3 drawn scenes, for a checkpoint stores no classes" in found["sentence"]
    counts, names = scene_counts.class_counts(open_tokenizer(NAME))
    missing = next(k for k in range(len(names)) if not counts[:, k].any())
    nothing = search("class", missing)
    assert nothing["found"] == []
    assert nothing["sentence"].startswith(f"No code covers the class {names[missing]} in 3 drawn")


def test_the_page_gets_the_picture_with_its_grid_and_the_classes(photograph: Path) -> None:
    material = code_search.show_material(NAME, str(photograph), SimpleNamespace())["material"]
    assert (material["rows"], material["columns"], material["patch"]) == (10, 13, 8)
    assert (material["width"], material["height"]) == (101, 75)
    assert material["classes"] == list(open_dataset("scenes", size=64).classes)
    assert Image.open(material["picture"]["path"]).size == (101, 75)


def test_a_path_that_was_not_uploaded_is_refused(photograph: Path) -> None:
    for path in (str(photograph), "/etc/passwd", 7, ["x"]):
        event = SimpleNamespace(by="patch", value=[0, 0], path=path)
        assert code_search.show_found(NAME, None, event)["problem"] == NOT_UPLOADED
        assert code_search.show_material(NAME, None, event)["problem"] == NOT_UPLOADED


def test_an_unknown_checkpoint_is_refused() -> None:
    assert "no checkpoint called" in search("number", "1", None, "../x")["problem"]
    with pytest.raises(gr.Error, match="no checkpoint called"):
        code_search.find_codes("../x")


def test_the_endpoint_finds_codes(
    client: Client,  # noqa: F811
    photograph: Path,
    tokenizer: Tokenizer,
) -> None:
    shown, figures = client.predict(NAME, "number", "5", None, api_name="/find_codes")
    assert figures["codes"] == [5] and shown[0]["caption"] == "code 5"
    painted = paint_codes(tokenizer, [5])[0]
    np.testing.assert_array_equal(pixels(shown[0]["image"])[::16, ::16], painted)
    shown, figures = client.predict(
        NAME, "patch", "4, 7", handle_file(photograph), api_name="/find_codes"
    )
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])[0].numpy()
    assert figures["codes"][0] == ids[4, 7] and figures["measure"] == "probability"
    assert len(shown) == len(figures["codes"]) == len(figures["scores"]) == 12
    with pytest.raises(AppError, match="The code must be a number from 0 to 59"):
        client.predict(NAME, "number", "600", None, api_name="/find_codes")

"""The tab Compare and the study's charts, against computations of our own."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.services import checkpoints
from app.tabs import compare, compare_study
from core.checkpoints import load_tokenizer
from core.images import open_picture, to_pixels, to_tensor
from tests.app.test_api import client, pixels  # noqa: F401  the fixture

NAMES = ["tiny-regvq", "tiny-vq"]


def test_each_checkpoint_rewrites_the_picture(photograph: Path, bundles: Path) -> None:
    pictures, figures = compare.compare(str(photograph), NAMES)
    original = pixels(str(photograph))
    assert [words for _, words in pictures] == ["original", *NAMES]
    np.testing.assert_array_equal(pixels(pictures[0][0]), original)
    assert (figures["width"], figures["height"]) == (101, 75)
    for (path, _), row in zip(pictures[1:], figures["table"], strict=True):
        tokenizer = load_tokenizer(bundles / row["checkpoint"])
        picture = to_tensor(open_picture(photograph))[None]
        expected = to_pixels(tokenizer.reconstruct(picture))[0]
        np.testing.assert_array_equal(pixels(path), expected)
        mse = np.mean((original.astype(float) - expected) ** 2)
        assert row["psnr"] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-4)
        ids = tokenizer.encode(picture)
        assert row["codes_used"] == len(ids.unique()) and row["tokens"] == ids.numel() == 130
        assert row["bits_per_pixel"] == pytest.approx(130 * math.log2(60) / (101 * 75))
        assert row["bytes"] == math.ceil(130 * math.log2(60) / 8)
        assert (row["codebook_size"], row["downsampling"]) == (60, 8)


def test_the_table_has_what_a_bundle_says_of_itself(
    bundles: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = checkpoints.model("tiny-vq")
    measured = {
        "utilization": 0.25, "perplexity": float("nan"), "images": 7,
        "data": {"described": "meadows"},
    }  # fmt: skip
    monkeypatch.setitem(which.bundle.__dict__, "metrics", measured)
    found = compare.described(which)
    assert found["quantizer"] == "VQ" and found["utilization"] == 0.25
    assert found["perplexity"] is None  # JSON knows no NaN
    assert found["measured_on"] == "7 meadows"
    assert compare.described(checkpoints.model("tiny-regvq"))["utilization"] is None


def test_the_wall_fills_checkpoint_by_checkpoint(
    photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_kept", OrderedDict())
    steps = list(compare.show(str(photograph), NAMES))
    assert [["picture" in row for row in step["rows"]] for step in steps] == [
        [False, False],  # the frames come before anything is loaded
        [True, False],
        [True, True],
    ]
    original, shown = (
        pixels(file["path"]) for file in (steps[-1]["original"], steps[-1]["rows"][1]["picture"])
    )
    error = pixels(steps[-1]["rows"][1]["error"]["path"])
    apart = np.abs(original.astype(float) - shown).mean(-1)
    light = error @ np.array([0.2126, 0.7152, 0.0722])
    assert light[apart > 60].min() > light[apart < 5].max()


def test_asked_again_the_wall_never_empties(photograph: Path) -> None:
    *_, before = compare.show(str(photograph), NAMES)
    (again,) = compare.show(str(photograph), NAMES)
    assert again == before
    # One of them anew: the other stays, and only the new one is waited for.
    for key in [key for key in compare._kept if key[0].name == NAMES[1]]:
        del compare._kept[key]
    first, last = compare.show(str(photograph), NAMES)
    assert first["rows"] == [before["rows"][0], {"checkpoint": NAMES[1]}] and last == before


def test_what_is_missing_is_said_on_the_wall(photograph: Path, tmp_path: Path) -> None:
    def words(image: str | None, chosen: list[str]) -> dict:
        (only,) = compare.show(image, chosen)
        return only

    assert "No picture yet" in words(None, NAMES)["empty"]
    assert "at least 2" in words(str(photograph), ["tiny-vq"])["empty"]
    broken = tmp_path / "list.jpg"
    broken.write_text("milk")
    assert words(str(broken), NAMES)["problem"].startswith("list.jpg is not a picture")
    assert "no checkpoint called 'gone'" in words(str(photograph), [*NAMES, "gone"])["problem"]


def test_opening_keeps_what_was_chosen_if_it_is_still_there(photograph: Path) -> None:
    path, thumbs, update = compare.opening(str(photograph), ["gone", "tiny-vq"], "tiny-regvq")
    assert path == str(photograph) and thumbs[0]["thumb"].startswith("data:image/png")
    assert update["value"] == ["tiny-vq"] and update["choices"] == NAMES
    _, _, update = compare.opening(None, [], "tiny-vq")
    assert update["value"] == ["tiny-vq", "tiny-regvq"]


def test_compare_as_an_api(client, photograph: Path) -> None:  # noqa: F811
    good = handle_file(photograph)
    gallery, figures = client.predict(good, NAMES, api_name="/compare")
    assert [entry["caption"] for entry in gallery] == ["original", *NAMES]
    assert [row["checkpoint"] for row in figures["table"]] == NAMES
    assert pixels(gallery[2]["image"]).shape == (75, 101, 3)
    # All that there are, if none is named; a list may also be written with commas.
    _, default = client.predict(image=good, api_name="/compare")
    assert default == figures
    cases = [
        ((good, ["tiny-vq"]), "needs at least 2 checkpoints; there is tiny-regvq, tiny-vq"),
        ((good, ["tiny-vq", "tiny-vq"]), "needs at least 2"),
        ((good, [f"c{i}" for i in range(7)]), "At most 6 checkpoints .* not 7"),
        ((good, ["tiny-vq", "../../etc"]), "no checkpoint called"),
        ((good, ["tiny-vq", 3]), "must be a list of names"),
        ((good, {"a": 1}), "must be a list of names"),
        ((None, NAMES), "no picture"),
    ]
    for inputs, words in cases:
        with pytest.raises(AppError, match=words) as refusal:
            client.predict(*inputs, api_name="/compare")
        assert "Traceback" not in str(refusal.value)


def test_names_may_be_written_in_a_line() -> None:
    for text in ("tiny-vq, tiny-regvq", '["tiny-vq", "tiny-regvq"]'):
        assert [which.name for which in compare.wanted(text)] == ["tiny-vq", "tiny-regvq"]


# ---------------------------------------------------------------- the study


def result(name: str, **changes: object) -> dict:
    return {
        "name": name, "label": name.upper(), "group": "main", "method": name, "codes": 1024,
        "seed": 0, "kind": "ours", "note": "a note", "utilization": 0.5, "perplexity": 200.0,
        "psnr": 21.5, "ssim": 0.6, "feature_distance": 0.4, "fd": 900.0, "step_ms": 700.0,
        "peak_mb": None, **changes,
    }  # fmt: skip


def test_the_studys_results_become_charts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        result("vqgan"),
        result("regvq", peak_mb=800.0),
        result("regvq-mask0", group="mask", method="regvq"),
        result("outside-simvq", kind="outside", psnr=float("nan")),
        {"name": "no figures"},
    ]
    series = {"regvq": [[0.4, "regvq"], [0.0, "regvq-mask0"], [1.0, "never made"]]}
    sweeps = [
        {"name": "mask", "title": "Mask", "axis": "share", "series": series},
        {"name": "size", "title": "Size", "axis": "codes", "series": {"vq": [[1024, "vqgan"]]}},
    ]
    groups = [{"name": "main", "title": "1,024 codes"}]
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"runs": runs, "sweeps": sweeps, "groups": groups}))
    monkeypatch.setattr(compare_study, "RESULTS", file)
    page = compare_study.show()
    made = {run["name"]: run for run in page["runs"]}
    assert list(made) == ["vqgan", "regvq", "regvq-mask0", "outside-simvq"]
    assert made["vqgan"]["values"] == {
        "utilization": 50.0, "perplexity": 200.0, "psnr": 21.5, "ssim": 0.6,
        "feature_distance": 0.4, "fd": 900.0, "step_ms": 700.0, "codes": 1024.0,
    }  # fmt: skip
    assert "psnr" not in made["outside-simvq"]["values"] and made["outside-simvq"]["outside"]
    assert [run["family"] for run in page["runs"]] == ["vq", "regvq", "regvq", "simvq"]
    assert {"peak_mb", "fd"} <= {axis["key"] for axis in page["axes"]}
    assert page["parts"] == {"main": "1,024 codes"}
    (sweep,) = page["sweeps"]  # a single point is no line
    assert sweep["lines"][0]["points"] == [(0.0, "regvq-mask0"), (0.4, "regvq")]


@pytest.mark.parametrize("text", ["{", "[1]", '{"runs": 3}'])
def test_results_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "results.json"
    monkeypatch.setattr(compare_study, "RESULTS", file)
    assert compare_study.show() == {"empty": True}
    file.write_text(text)
    assert compare_study.show()["problem"].startswith("results.json of the study cannot be read")


def test_a_picked_example_is_the_picture_of_every_tab() -> None:
    event = type("Event", (), {"index": 0})()
    own, shared = compare.picked(event)
    assert own == shared and Image.open(own).size[0] > 0
    event.index = 99
    with pytest.raises(gr.Error, match="no such example"):
        compare.picked(event)

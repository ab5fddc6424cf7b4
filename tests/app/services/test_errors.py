"""Sentences that visitors read: they name files, but not the places where the server keeps them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gradio as gr
import pytest

from app.services.errors import without_paths
from app.ui.errors import report_user_errors
from core.errors import CheckpointError
from core.paths import ROOT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/models/x/config.json cannot be read: it.", "config.json cannot be read: it."),
        (f"{ROOT}/checkpoints/a/atlas.npz is cut.", "checkpoints/a/atlas.npz is cut."),
        (
            f"{Path.home()}/my models/b/model.safetensors is cut.",
            "my models/b/model.safetensors is",
        ),
        pytest.param(  # the folder of the tests of this process: another name in each
            f"'{tempfile.gettempdir()}/gradio/abc/x.png' is no picture.",
            "x.png' is no picture.",
            id="a temporary file",
        ),
        (r"C:\Users\me\a.json is cut.", "a.json is cut."),
        (
            "see https://huggingface.co/me/tok and 1/2 of a/b.",
            "see https://huggingface.co/me/tok and",
        ),
    ],
)
def test_a_sentence_names_the_file_without_its_place(text, shown):
    found = without_paths(text)
    assert shown in found
    for place in (str(ROOT), str(Path.home()), "/srv", "Users"):
        assert place not in found


def test_an_error_on_the_page_holds_no_path_of_the_server(tmp_path):
    @report_user_errors
    def handler():
        raise CheckpointError(f"{tmp_path}/config.json cannot be read: cut; restore it.")

    with pytest.raises(gr.Error) as error:
        handler()
    assert str(tmp_path) not in str(error.value) and "config.json cannot be read" in str(
        error.value
    )

"""The tab About: the introduction and the checkpoint's card."""

from __future__ import annotations

import gradio as gr
import pytest

from app import shell
from app.services.examples import photographs
from app.tabs import about


def test_the_card_is_shown_without_its_front_matter() -> None:
    assert about.card("tiny-regvq") == "# Tiny\n\nA card for the tests."
    assert "has no model card" in about.card("tiny-vq")
    with pytest.raises(gr.Error, match="no checkpoint called"):
        about.card("../tiny-regvq")


def test_the_introduction_names_the_endpoints_and_the_photographers() -> None:
    words = about.introduction()
    endpoints = shell.build_app().get_api_info()["named_endpoints"]
    assert all(f"`{name}`" in words or f'"{name}"' in words for name in endpoints)
    known = photographs()
    assert len(known) == 2 and all(one.credit in words for one in known)

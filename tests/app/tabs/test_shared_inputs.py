"""Inputs that several tabs use."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from app.services.examples import examples
from app.tabs.shared_inputs import pick_example


def test_an_example_is_chosen_by_its_number() -> None:
    known = examples()
    for index, example in enumerate(known):
        assert pick_example(SimpleNamespace(index=index)) == example.path
    for index in (-1, len(known), "0", None, 0.0):
        with pytest.raises(gr.Error, match="no such example"):
            pick_example(SimpleNamespace(index=index))

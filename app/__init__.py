"""The explorer: a Gradio app that shows what a tokenizer and its codebook do.

``tabs`` holds components and listeners, ``services`` the view models and computation (without
Gradio), ``ui`` the look, ``static`` the HTML, CSS and JavaScript; ``core`` does the computing.
Importing this package is cheap: ``build_app`` imports Gradio, and the first picture imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["build_app"]


def build_app() -> gr.Blocks:
    """Return the explorer, ready for ``server.launch``."""
    from .shell import build_app as build

    return build()

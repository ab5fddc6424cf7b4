"""The explorer: a Gradio app that shows what a tokenizer and its codebook do.

One file a tab. The app draws and listens; whatever is computed comes from ``core``. Importing this
package costs nothing: Gradio is imported by ``build_app`` and torch by the first picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["build_app"]


def build_app() -> gr.Blocks:
    """The explorer, ready for ``app.shell.launch``."""
    from .shell import build_app as build

    return build()

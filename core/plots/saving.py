"""Figures as files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundles.replacement import write_bytes
from ..extras import missing_extra

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".webp")


def save_figure(
    figure: Figure, path: str | Path, width: int | None = None, height: int | None = None
) -> Path:
    """Write a figure to ``path``, in the format of its suffix, and return the path.

    ``.html`` is a page that needs no network, ``.json`` what plotly.js draws. Pictures (``.png``,
    ``.svg``, ``.pdf``, ``.jpg``, ``.webp``) are drawn by the package kaleido in a Chromium, the one
    that REGVQ_CHROMIUM names or the first on the PATH. Raises ValueError for another suffix.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".html":
        content = figure.to_html(include_plotlyjs=True).encode()
    elif kind == ".json":
        content = str(figure.to_json()).encode()
    elif kind in PICTURES:
        if browser := find_browser():
            os.environ.setdefault("BROWSER_PATH", browser)
        content = figure.to_image(format=kind[1:], width=width, height=height)
    else:
        known = ", ".join((".html", ".json", *PICTURES))
        raise ValueError(f"{path} must end with one of {known}.")
    write_bytes(path, content)
    return path


def save_figures(figures: Mapping[str | Path, Figure], width: int | None = None) -> None:
    """Write figures to their paths as ``save_figure`` does, with one browser for all of them.

    Raises ImportError, with the remedy, without kaleido.
    """
    if problem := missing_extra("A chart as a picture", "plots", "kaleido"):
        raise ImportError(problem.replace("'regvq-studio[plots]'", "kaleido"))
    import kaleido

    if browser := find_browser():
        os.environ.setdefault("BROWSER_PATH", browser)
    kaleido.start_sync_server(silence_warnings=True)
    try:
        for path, figure in figures.items():
            save_figure(figure, path, width, figure.layout.height)
    finally:
        kaleido.stop_sync_server(silence_warnings=True)


def find_browser() -> str | None:
    """Return the path of $REGVQ_CHROMIUM, or of a Chromium on the PATH; None without one."""
    named = os.environ.get("REGVQ_CHROMIUM")
    names = (named,) if named else ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)

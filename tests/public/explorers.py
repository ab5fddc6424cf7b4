"""An explorer on small bundles, in the process of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from app import server, shell
from core.bundles import bundle


@pytest.fixture(scope="module")
def explorer(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    """Yield a running explorer on small bundles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "CHECKPOINTS", tmp_path_factory.mktemp("none"))
        patch.setattr(bundle, "RUNS", tmp_path_factory.mktemp("no-runs"))
        patch.setenv("REGVQ_CHECKPOINTS", str(bundles))
        app = shell.build_app()
        app.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
        )
        try:
            yield app
        finally:
            app.close(verbose=False)

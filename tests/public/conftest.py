"""A public explorer in a process of its own, on small bundles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.conftest import photograph  # noqa: F401  (a fixture)
from tests.public.bundles import small_bundles
from tests.public.listening import Listener, listening
from tests.public.serving import Watched, watched


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two tokenizers and two priors."""
    return small_bundles(tmp_path_factory.mktemp("public") / "bundles")


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Iterator[Watched]:
    """Yield a running explorer; no test may leave a stack trace in its log, or end it."""
    with watched(tmp_path_factory.mktemp("explorer"), checkpoints) as explorer:
        yield explorer
        assert explorer.process.poll() is None, explorer.logged()[-3000:]
        assert "Traceback" not in explorer.logged(), explorer.logged()[-6000:]


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    """Yield a web server on this machine that notes each request."""
    with listening() as found:
        yield found

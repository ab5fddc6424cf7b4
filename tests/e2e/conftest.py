"""One app and one browser for all browser tests; without a browser, they are skipped loudly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import browser, find_chromium, running_app

NO_BROWSER = (
    "no Chromium was found: install one (apt install chromium, or playwright install chromium), or "
    "name it in REGVQ_CHROMIUM"
)
_missing = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> str:
    """The browser's path. Without one: a failure if REGVQ_REQUIRE_BROWSER is set, else a skip."""
    found = find_chromium()
    if found is None:
        request.config.stash[_missing] = True
        if os.environ.get("REGVQ_REQUIRE_BROWSER"):
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)
    return found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say it where nobody overlooks it."""
    if config.stash.get(_missing, False):
        terminalreporter.section("THE BROWSER TESTS DID NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.line(NO_BROWSER, red=True)


@pytest.fixture(scope="session")
def app(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real app, on the checkpoints that are there."""
    with running_app(tmp_path_factory.mktemp("app") / "app.log") as address:
        yield address


@pytest.fixture(scope="session")
def chrome(chromium: str) -> Iterator[Any]:
    """The browser."""
    with browser(chromium) as opened:
        yield opened


class Visit:
    """A browser window whose requests and complaints are recorded."""

    def __init__(self, chrome: Any, **settings: Any) -> None:
        self.context = chrome.new_context(**settings)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self._streams: set[Any] = set()  # of answers that Gradio's page still listens for
        self.context.on("request", lambda one: "/queue/data" in one.url and self._streams.add(one))
        for end in ("requestfinished", "requestfailed"):
            self.context.on(end, lambda one: self._streams.discard(one))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)

    def settle(self) -> None:
        """Wait until the page has had every answer that it asked for, and asks for no other; some
        seconds at most, for of a stream that is broken off a browser may say nothing."""
        calm = 0
        for _ in range(80):
            self.page.wait_for_timeout(250)
            calm = 0 if self._streams else calm + 1
            if calm == 3:
                return

    def _listen(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture
def visit(chrome: Any, app: str) -> Iterator[Any]:
    """Open windows: ``visit(viewport=…)``. None may ask anybody but the app, or complain."""
    opened: list[Visit] = []

    def start(width: int = 1440, height: int = 900, **settings: Any) -> Visit:
        opened.append(Visit(chrome, viewport={"width": width, "height": height}, **settings))
        return opened[-1]

    yield start
    for one in opened:
        one.context.close()
        outside = [
            url for url in one.requests if not url.startswith((app, "data:", "blob:", "about:"))
        ]
        assert outside == [], "the page asked somebody else"
        assert one.complaints == []


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory, shared_data: Path | None) -> Path:
    """A real photograph as a JPEG file, or a drawn scene where there is none."""
    from PIL import Image

    from app.services.examples import examples, photographs

    real = sorted(shared_data.glob("photos/test/**/*.jpg")) if shared_data else []
    source = str(real[7]) if len(real) > 7 else (photographs() or list(examples()))[-1].path
    picture = Image.open(source).convert("RGB")
    picture.thumbnail((333, 333))  # sides that the downsampling does not divide
    path = tmp_path_factory.mktemp("upload") / "holiday.jpg"
    picture.save(path, quality=92)
    return path

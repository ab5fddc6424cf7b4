"""One app and one browser for all browser tests, which are skipped, with a notice, without one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.e2e.harness import browser, find_chromium, running_app

NO_BROWSER = (
    "no Chromium was found: install one (apt install chromium, or playwright install chromium), or "
    "name it in REGVQ_CHROMIUM"
)
_missing = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> str:
    """Return the browser's path; without one fail if REGVQ_REQUIRE_BROWSER is set, else skip."""
    found = find_chromium()
    if found is None:
        request.config.stash[_missing] = True
        if os.environ.get("REGVQ_REQUIRE_BROWSER"):
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)
    return found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Report at the end of the output that the browser tests did not run."""
    if config.stash.get(_missing, False):
        terminalreporter.section("THE BROWSER TESTS DID NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.line(NO_BROWSER, red=True)


@pytest.fixture(scope="session")
def app(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of the real app with the available checkpoints."""
    with running_app(tmp_path_factory.mktemp("app") / "app.log") as address:
        yield address


@pytest.fixture(scope="session")
def chrome(chromium: str) -> Iterator[Any]:
    """Yield the browser."""
    with browser(chromium) as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add the state of every open page to the report of a test that fails."""
    report = yield
    if call.when == "call" and report.failed:
        for number, one in enumerate(Visit.opened, 1):
            report.sections.append((f"page {number}", one.state()))
    if call.when == "teardown":
        Visit.opened.clear()
    return report


class Visit:
    """A browser window whose requests and errors are recorded."""

    opened: ClassVar[list[Visit]] = []

    def __init__(self, chrome: Any, **settings: Any) -> None:
        Visit.opened.append(self)
        self.context = chrome.new_context(**settings)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self._streams: set[Any] = set()  # answers that Gradio's page still waits for
        answers = re.compile("/queue/data|/run/predict")
        self.context.on("request", lambda one: answers.search(one.url) and self._streams.add(one))
        for end in ("requestfinished", "requestfailed"):
            self.context.on(end, lambda one: self._streams.discard(one))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)

    def settle(self) -> None:
        """Wait until the page has received every answer and sends no further request.

        It waits 20 seconds at most, because a browser may not report that a stream was cut off.
        """
        quiet = 0
        for _ in range(80):
            self.page.wait_for_timeout(250)
            quiet = 0 if self._streams else quiet + 1
            if quiet == 3:
                return

    def state(self) -> str:
        """Return the page's parts with their states, its errors and its last requests."""
        try:
            parts = self.page.evaluate(
                "() => [...document.querySelectorAll('[data-state]')]"
                ".map((one) => one.className + ': ' + one.dataset.state)"
            )
        except Exception as error:  # a page that is closed, or does not answer
            parts = [str(error)]
        waiting = [one.url for one in self._streams]
        return "\n".join(
            ["parts", *parts, "errors", *self.errors, "open streams", *waiting, "last requests",
             *self.requests[-20:]]
        )  # fmt: skip

    def _listen(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url', '')}".strip())


@pytest.fixture
def visit(chrome: Any, app: str) -> Iterator[Any]:
    """Yield a function that opens windows. None may send requests elsewhere or report errors."""
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
        assert outside == [], "the page sent requests elsewhere"
        assert one.errors == []


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory, shared_data: Path | None) -> Path:
    """Return a real photograph as a JPEG file."""
    from PIL import Image

    from app.services.examples import photographs

    real = sorted(shared_data.glob("photos/test/**/*.jpg")) if shared_data else []
    source = str(real[7]) if len(real) > 7 else photographs()[-1].path
    picture = Image.open(source).convert("RGB")
    picture.thumbnail((333, 333))  # sides that are not multiples of the downsampling
    path = tmp_path_factory.mktemp("upload") / "holiday.jpg"
    picture.save(path, quality=92)
    return path

"""The content security policy: the page itself passes it, and nothing else is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import (
    go,
    open_about,
    open_compare,
    open_explorer,
    open_generate,
    open_lab,
)
from tests.e2e.test_explorer import reconstruct

pytestmark = pytest.mark.browser

LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@pytest.mark.long  # each test of the browser fails if the console reports a violation
def test_no_tab_violates_the_policy(app: str, visit: Any, photograph: Path) -> None:
    visitor = visit()
    page = visitor.page
    page.add_init_script(LISTEN)
    open_explorer(page, app)
    reconstruct(page, photograph)
    for title in ("Codebook", "Code map", "Mask ratio"):
        go(page, title)
        page.wait_for_timeout(1500)
    for opened in (open_generate, open_compare, open_lab, open_about):
        opened(page)
    assert page.evaluate("window.violations") == []
    visitor.settle()


def test_a_picture_of_another_host_is_not_loaded(app: str, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.add_init_script(LISTEN)
    open_explorer(page, app)
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:9/x.png>')"
    )
    page.wait_for_function("window.violations.length > 0")
    (violation,) = page.evaluate("window.violations")
    assert violation.startswith("img-src http://127.0.0.1:9")
    visitor.settle()
    refused = [error for error in visitor.errors if "img-src" in error]
    assert refused == visitor.errors
    visitor.errors.clear()
    visitor.requests[:] = [url for url in visitor.requests if "127.0.0.1:9/" not in url]

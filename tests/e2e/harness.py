"""Helpers of browser tests and screenshots: find a Chromium, start the real app, open a page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.paths import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}
ARTIFACTS = ROOT / "artifacts" / "screens"
"""The folder of the browser tests' screenshots."""
PATIENCE = 180_000
"""Milliseconds that a step may take on a busy machine."""


def find_chromium() -> str | None:
    """Return the path of $REGVQ_CHROMIUM, of one on the PATH, or of playwright's own; else None."""
    named = os.environ.get("REGVQ_CHROMIUM")
    if named:
        return shutil.which(named)
    found = next(filter(_runs, filter(None, map(shutil.which, BROWSERS))), None)
    if found:
        return found
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() and _runs(own) else None


def _runs(browser: str) -> bool:
    """Return True if a browser starts; Ubuntu's stub does not, and libraries may be missing."""
    try:
        answer = subprocess.run([browser, "--version"], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


@contextmanager
def running_app(
    log: Path, patience: float = PATIENCE / 1000, settings: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run ``python app.py --port N``, with ``settings`` in its environment; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "GRADIO_TEMP_DIR": "", **(settings or {})},  # "": one of its own
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            end = time.monotonic() + patience
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the app did not start:\n{log.read_text()}")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def browser(executable: str) -> Iterator[Any]:
    """Yield a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=list(SWITCHES))
        try:
            yield opened
        finally:
            opened.close()


def expect(locator: Any) -> Any:
    """Return playwright's assertions on a locator, which wait until they hold."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    return expect(locator)


def open_explorer(page: Any, address: str, theme: str = "light") -> None:
    """Open the explorer and wait until its first example is reconstructed."""
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/?__theme={theme}")
    page.wait_for_selector('.rv-stage[data-state="ready"]')


def go(page: Any, name: str) -> None:
    """Open a tab; on a narrow screen Gradio may put it in a menu."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() and tab.first.is_visible():
        tab.first.click()
        return
    page.locator(".overflow-menu > button").click()
    page.locator(".overflow-dropdown button", has_text=name).click()


def choose(page: Any, name: str, option: str) -> None:
    """Choose an option of a dropdown by its id, and wait until the chart follows."""
    page.locator(f"#{name} input").click()
    page.get_by_role("option", name=option).click()


def spot(page: Any, chart: str, code: int) -> dict[str, float]:
    """Return the place of a code's mark in the plot of a chart, in pixels."""
    return page.evaluate(
        """([chart, code]) => {
          const plot = document.querySelector(chart + " .rv-figure-plot");
          const marks = plot.data.find((one) => one.name === "codes");
          const i = marks.customdata.findIndex((row) => row[0] === code);
          const {xaxis: x, yaxis: y} = plot._fullLayout;
          return {x: x._offset + x.d2p(marks.x[i]), y: y._offset + y.d2p(marks.y[i])};
        }""",
        [chart, code],
    )


def marks(page: Any, chart: str) -> dict[int, list[float]]:
    """Return the rows of a chart's marks by code, as Plotly has them."""
    rows = page.evaluate(
        """chart => document.querySelector(chart + " .rv-figure-plot").data
          .find((one) => one.name === "codes").customdata.map((row) => [...row])""",
        chart,
    )
    return {int(row[0]): row for row in rows}


def open_codebook(page: Any) -> None:
    """Open the tab Codebook and wait until the codebook and a code are drawn."""
    go(page, "Codebook")
    page.wait_for_selector('#codebook .rv-figure[data-state="ready"]')
    page.wait_for_selector('#code .rv-code[data-state="ready"]')


def open_map(page: Any) -> None:
    """Open the tab Code map and wait until the map and a code are drawn."""
    go(page, "Code map")
    page.wait_for_selector('#code-map .rv-figure[data-state="ready"]')
    page.wait_for_selector('#map-code .rv-code[data-state="ready"]')


def open_masks(page: Any) -> None:
    """Open the tab Mask ratio and wait until the mask is drawn."""
    go(page, "Mask ratio")
    page.wait_for_selector('.rv-masks[data-state="ready"]')


def open_compare(page: Any) -> None:
    """Open the tab Compare and wait until the picture is reconstructed by every checkpoint."""
    go(page, "Compare")
    page.wait_for_selector('.rv-compare[data-state="ready"]')


def open_generate(page: Any) -> None:
    """Open the tab Generate and wait until it is ready, or says that there is no prior."""
    go(page, "Generate")
    page.wait_for_selector("#prompts .rv-chips button, .rv-results[data-state=none]")


def open_lab(page: Any) -> None:
    """Open the tab Collapse lab and wait until its quantizers are training."""
    go(page, "Collapse lab")
    page.wait_for_selector(".rv-lab[data-step]:not([data-step='0'])")


def open_about(page: Any) -> None:
    """Open the tab About and wait until the checkpoint's card is shown."""
    go(page, "About")
    page.locator("#card h1").first.wait_for()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False

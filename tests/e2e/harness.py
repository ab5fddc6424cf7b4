"""What browser tests and screenshots share: find a Chromium, start the real app, open a page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
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
"""Where browser tests leave their screenshots."""
PATIENCE = 180_000
"""Milliseconds that a step may take on a machine that is busy with something else."""


def find_chromium() -> str | None:
    """The Chromium to drive: $REGVQ_CHROMIUM, one on the PATH, or one that playwright installed."""
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
    """Ubuntu's stub is there but only asks for snap; playwright's own may lack libraries."""
    try:
        answer = subprocess.run([browser, "--version"], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


@contextmanager
def running_app(log: Path, patience: float = PATIENCE / 1000) -> Iterator[str]:
    """``python app.py --port N`` as a visitor would start it; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            end = time.monotonic() + patience
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the app did not come up:\n{log.read_text()}")
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
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=list(SWITCHES))
        try:
            yield opened
        finally:
            opened.close()


def open_explorer(page: Any, address: str, theme: str = "light") -> None:
    """Go to the explorer and wait until its first example has been rewritten."""
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/?__theme={theme}")
    page.wait_for_selector('.rv-stage[data-state="ready"]')


def go(page: Any, name: str) -> None:
    """Open a tab; on a narrow screen Gradio keeps those that do not fit in a menu."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() and tab.first.is_visible():
        tab.first.click()
        return
    page.locator(".overflow-menu > button").click()
    page.locator(".overflow-dropdown button", has_text=name).click()


def open_codebook(page: Any) -> None:
    """Go to the tab Codebook and wait until the map and a code are drawn."""
    go(page, "Codebook")
    page.wait_for_selector('.rv-codebook[data-state="ready"]')
    page.wait_for_selector('#code .rv-code[data-state="ready"]')


def open_map(page: Any) -> None:
    """Go to the tab Code map and wait until the map and a code are drawn."""
    go(page, "Code map")
    page.wait_for_selector('.rv-codemap[data-state="ready"]')
    page.wait_for_selector('#map-code .rv-code[data-state="ready"]')


def open_masks(page: Any) -> None:
    """Go to the tab Mask ratio and wait until the mask is drawn."""
    go(page, "Mask ratio")
    page.wait_for_selector('.rv-masks[data-state="ready"]')


def open_compare(page: Any) -> None:
    """Go to the tab Compare and wait until all its checkpoints have rewritten the picture."""
    go(page, "Compare")
    page.wait_for_selector('.rv-compare[data-state="ready"]')


def open_generate(page: Any) -> None:
    """Go to the tab Generate and wait until it is ready, or says that there is no prior."""
    go(page, "Generate")
    page.wait_for_selector("#prompts .rv-chips button, .rv-easel[data-state=none]")


def open_lab(page: Any) -> None:
    """Go to the tab Collapse lab and wait until its quantizers are training."""
    go(page, "Collapse lab")
    page.wait_for_selector(".rv-lab[data-step]:not([data-step='0'])")


def open_about(page: Any) -> None:
    """Go to the tab About and wait until the checkpoint's card is there."""
    go(page, "About")
    page.locator("#card h1").first.wait_for()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False

"""Screenshots of the explorer: ``python -m tests.e2e.screenshots --out docs/images``.

It writes the README's pictures (``screenshot.png`` of Reconstruct, and some more tabs) and, with
``--all``, every tab at the width of a desktop and of a phone, light and dark.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.harness import (
    WIDTHS,
    browser,
    choose,
    find_chromium,
    go,
    open_codebook,
    open_compare,
    open_explorer,
    open_generate,
    open_map,
    open_masks,
    running_app,
)

SHOWN = ("codebook", "map", "generate", "lab")
"""The tabs that the README shows, besides the first one."""


def tabs(page: Any, address: str, theme: str) -> Iterator[str]:
    """Go through the tabs; yield the name of each when it is ready for a screenshot."""
    open_explorer(page, address, theme)
    page.wait_for_timeout(800)  # transitions
    yield "reconstruct"
    open_codebook(page)
    page.wait_for_timeout(800)
    yield "codebook"
    open_map(page)
    choose(page, "map-layout", "UMAP, 15 neighbors")
    page.wait_for_selector('#code-map .rv-figure[data-layout="umap2-15"]')
    choose(page, "map-marks", "Tiles, where they fit")
    page.wait_for_selector('#code-map .rv-figure[data-marks="tiles"]')
    page.mouse.move(5, 5)
    page.wait_for_timeout(1500)
    yield "map"
    open_masks(page)
    page.wait_for_selector('#mask-curve .rv-figure[data-state="ready"]')
    yield "mask"
    go(page, "Collapse lab")
    page.wait_for_function("Number(document.querySelector('.rv-lab').dataset.step) > 200")
    yield "lab"
    page.locator("#lab-kind").get_by_text("Small pictures").click()
    page.wait_for_selector(".rv-lab[data-kind=pictures]")
    page.wait_for_function("Number(document.querySelector('.rv-lab').dataset.step) > 200")
    yield "lab-pictures"
    open_generate(page)
    if page.locator("#prompts .rv-chips button").count():
        page.locator("#prompts .rv-chips button").first.click()
        page.wait_for_function("document.querySelector('#prompt textarea').value")
        page.get_by_role("button", name="Generate", exact=True).click()
        page.wait_for_selector(".rv-results[data-state=done]")
    page.wait_for_timeout(800)
    yield "generate"
    open_compare(page)
    page.wait_for_timeout(800)
    yield "compare"
    go(page, "About")
    page.wait_for_selector("#card h1, #card h2, #card p")
    yield "about"


def main() -> int:
    """Take the screenshots; return 0, or 2 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("docs/images"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="every tab, width and theme")
    arguments = parser.parse_args()
    executable = find_chromium()
    if executable is None:
        print("No Chromium was found; name one in REGVQ_CHROMIUM.", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_app(Path(scratch) / "app.log") as address,
        browser(executable) as chrome,
    ):
        page = chrome.new_page(viewport={"width": 1440, "height": 1000})
        for name in tabs(page, address, "light"):
            if name == "reconstruct":
                page.screenshot(path=arguments.out / "screenshot.png")
            elif name in SHOWN:
                page.screenshot(path=arguments.out / f"{name}.jpg", quality=85)
        page.close()
        for width, (across, down) in WIDTHS.items() if arguments.all else ():
            for theme in ("light", "dark"):
                page = chrome.new_page(viewport={"width": across, "height": down})
                for name in tabs(page, address, theme):
                    path = arguments.out / f"{width}-{theme}-{name}.png"
                    page.screenshot(path=path, full_page=True)
                page.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

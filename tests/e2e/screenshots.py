"""Screenshots of the explorer: ``python -m tests.e2e.screenshots --out docs``.

Writes ``screenshot.png`` (Reconstruct, the README's picture) and, with ``--all``, every tab at a
desktop's and a phone's width, light and dark.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.harness import (
    WIDTHS,
    browser,
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


def take(page: Any, address: str, theme: str, folder: Path, prefix: str, whole: bool) -> None:
    """One picture of each tab."""
    open_explorer(page, address, theme)
    page.wait_for_timeout(800)  # transitions
    page.screenshot(path=folder / f"{prefix}reconstruct.png", full_page=whole)
    open_codebook(page)
    page.wait_for_timeout(800)
    page.screenshot(path=folder / f"{prefix}codebook.png", full_page=whole)
    open_map(page)
    page.locator(".rv-codemap").get_by_role("radio", name="UMAP").click()
    page.wait_for_selector('.rv-codemap[data-layout="umap2-15"]')
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / f"{prefix}map.png", full_page=whole)
    open_masks(page)
    page.wait_for_selector('.rv-sweep[data-state="ready"]')
    page.screenshot(path=folder / f"{prefix}mask.png", full_page=whole)
    go(page, "Collapse lab")
    page.wait_for_function("Number(document.querySelector('.rv-lab').dataset.step) > 200")
    page.screenshot(path=folder / f"{prefix}lab.png", full_page=whole)
    page.locator("#lab-kind").get_by_text("Small pictures").click()
    page.wait_for_selector(".rv-lab[data-kind=pictures]")
    page.wait_for_function("Number(document.querySelector('.rv-lab').dataset.step) > 200")
    page.screenshot(path=folder / f"{prefix}lab-pictures.png", full_page=whole)
    open_generate(page)
    if page.locator("#prompts .rv-chips button").count():
        page.locator("#prompts .rv-chips button").first.click()
        page.wait_for_function("document.querySelector('#prompt textarea').value")
        page.get_by_role("button", name="Paint", exact=True).click()
        page.wait_for_selector(".rv-easel[data-state=done]")
    page.wait_for_timeout(800)
    page.screenshot(path=folder / f"{prefix}generate.png", full_page=whole)
    open_compare(page)
    page.wait_for_timeout(800)
    page.screenshot(path=folder / f"{prefix}compare.png", full_page=whole)
    go(page, "About")
    page.wait_for_selector("#card h1, #card h2, #card p")
    page.screenshot(path=folder / f"{prefix}about.png", full_page=whole)


def main() -> int:
    """Take them; 0, or 2 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder (default: docs)")
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
        open_explorer(page, address)
        page.wait_for_timeout(800)
        page.screenshot(path=arguments.out / "screenshot.png")
        page.close()
        for width, (across, down) in WIDTHS.items() if arguments.all else ():
            for theme in ("light", "dark"):
                page = chrome.new_page(viewport={"width": across, "height": down})
                take(page, address, theme, arguments.out, f"{width}-{theme}-", whole=True)
                page.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

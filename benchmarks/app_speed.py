"""Response times of the explorer in a real browser: ``python benchmarks/app_speed.py``.

It starts ``python app.py`` (or uses a running one, ``--address``), opens it in a headless Chromium
and prints seconds: until the server answers, until the first page shows a reconstruction, from the
click on each tab until it is drawn, from a 512-pixel photograph to its reconstruction, and from a
move of the mask's slider to the redrawn picture at 256 pixels. With ``--codes`` it opens codebooks
of these sizes instead (``chart_speed``). Run it on an idle machine; each time is what a user waits,
with network, queue, model and drawing.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

READY = {
    "Codebook": (
        '#codebook .rv-figure[data-state="ready"]',
        '#code .rv-code[data-state="ready"]',
    ),
    "Code map": (
        '#code-map .rv-figure[data-state="ready"]',
        '#map-code .rv-code[data-state="ready"]',
    ),
    "Mask ratio": ('.rv-masks[data-state="ready"]',),
    "Generate": ("#prompts .rv-chips button, .rv-results[data-state=none]",),
    "Compare": ('.rv-compare:is([data-state="partial"], [data-state="ready"])',),
    "Collapse lab": (".rv-run canvas",),
    "About": ("#card h1, #card h2, #card p",),
}
"""The tabs and the selectors of what is there when they are drawn; of Compare only the frames,
which fill one by one."""
WANTED = {"first page": 10.0, "tab": 1.0, "photograph": 1.0, "slider": 0.3}
"""The project's targets in seconds, on 2 cores."""


def waited(page: Any, act: str, ready: str) -> float:
    """Return the seconds, by the page's clock, from ``act`` to the frame in which ``ready`` holds.

    Both are JavaScript functions without arguments; ``ready`` is called in every frame.
    """
    return page.evaluate(
        f"""async () => {{
          const frame = () => new Promise(requestAnimationFrame);
          const act = {act}, ready = {ready}, started = performance.now();
          act();
          while (!ready()) {{
            if (performance.now() - started > 120000) throw new Error("it did not become ready");
            await frame();
          }}
          await frame();
          return (performance.now() - started) / 1000;
        }}"""
    )


def say(what: str, seconds: float, wanted: float | None = None, more: str = "") -> None:
    """Print one line of the table."""
    verdict = "" if wanted is None else f"  {'ok' if seconds <= wanted else 'SLOW'} (≤ {wanted:g})"
    print(f"{what:<34}{seconds:8.2f} s{verdict}{more}", flush=True)


def tabs(page: Any) -> None:
    """Measure from the click on each tab until it is drawn, the first time and again."""
    for turn in ("first", "again"):
        for name, selectors in READY.items():
            seen = " && ".join(
                f"[...document.querySelectorAll({selector!r})].some((part) => part.offsetParent)"
                for selector in selectors
            )
            known = "[...document.querySelectorAll('[role=tab]')]"
            click = f"() => {known}.find((tab) => tab.innerText.trim() === {name!r}).click()"
            say(f"{name}, {turn}", waited(page, click, f"() => {seen}"), WANTED["tab"])
            if name == "Compare":
                started = time.perf_counter()
                page.wait_for_selector('.rv-compare[data-state="ready"]')
                say("  until all checkpoints are shown", time.perf_counter() - started)
        page.get_by_role("tab", name="Reconstruct", exact=True).click()
        page.wait_for_selector('.rv-stage[data-state="ready"]')


def photograph(page: Any, folder: Path, side: int, turns: int) -> float:
    """Return the median seconds from the upload of ``side`` pixels to the reconstruction."""
    import numpy as np
    from PIL import Image

    from app.services.examples import examples

    with Image.open(examples()[0].path) as whole:
        known = whole.convert("RGB")
    times = []
    for turn in range(turns):
        # Each has another size, so that nothing is cached and the page's text differs.
        width, height = side, side * 3 // 4 - turn
        pixels = np.asarray(known.resize((width, height))).copy()
        pixels[:8, :8] = turn
        Image.fromarray(pixels).save(folder / f"photograph-{turn}.jpg", quality=92)
        remove = page.locator("#picture button[aria-label='Clear'], #picture button[title='Clear']")
        if remove.count():
            remove.first.click()
            page.wait_for_selector('.rv-stage[data-state="empty"]')
        # By the page's clock: ours would include the time that the browser takes to answer us.
        page.evaluate(
            """(size) => {
              let started = 0;
              const chosen = () => { started = performance.now(); };
              addEventListener("change", chosen, { capture: true, once: true });
              window.seen = new Promise((tell) => {
                const look = () => {
                  const there = document.querySelector(".rv-size").textContent === size;
                  if (!started || !there) requestAnimationFrame(look);
                  else requestAnimationFrame(() => tell((performance.now() - started) / 1000));
                };
                look();
              });
            }""",
            f"{width} × {height} pixels",
        )
        page.locator("#picture input[type=file]").set_input_files(folder / f"photograph-{turn}.jpg")
        times.append(page.evaluate("() => window.seen"))
        page.wait_for_selector('.rv-stage[data-state="ready"]')
        page.wait_for_timeout(500)
    return statistics.median(times)


def slider(page: Any, moves: int) -> list[float]:
    """Return the seconds from each move of the mask's slider to the redrawn picture."""
    page.get_by_role("tab", name="Mask ratio", exact=True).click()
    page.wait_for_selector('.rv-masks[data-state="ready"]')
    page.wait_for_timeout(3000)  # the curve is filled in meanwhile
    times = []
    for move in range(moves):
        ratio = 0.1 + 0.8 * ((0.381966 * move) % 1)
        act = f"""() => {{
          const range = document.querySelector("#mask-share input[type=range]");
          window.before = document.querySelector(".rv-masks").dataset.drawn;
          range.value = {ratio:.2f};
          range.dispatchEvent(new Event("input", {{ bubbles: true }}));
          range.dispatchEvent(new PointerEvent("pointerup", {{ bubbles: true }}));
        }}"""
        ready = "() => document.querySelector('.rv-masks').dataset.drawn !== window.before"
        times.append(waited(page, act, ready))
        page.wait_for_timeout(400)
    return times


@contextlib.contextmanager
def served(address: str | None, folder: Path) -> Iterator[str]:
    """Yield the address of a running app: ``address``, or one that is started (and timed)."""
    from tests.e2e.harness import running_app

    if address:
        yield address.rstrip("/")
        return
    started = time.perf_counter()
    with running_app(folder / "app.log") as own:
        say("server answers", time.perf_counter() - started)
        yield own


def main() -> int:
    """Print the table; return 0, or 2 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", help="a running app (default: one is started)")
    parser.add_argument(
        "--turns",
        type=int,
        default=5,
        metavar="N",
        help="photographs and slider moves (default: 5)",
    )
    parser.add_argument(
        "--codes", type=int, nargs="+", metavar="K", help="measure charts of codebooks of K codes"
    )
    arguments = parser.parse_args()
    if arguments.codes:
        from benchmarks.chart_speed import measure

        return measure(arguments.codes)
    if arguments.turns < 1:
        parser.error(f"--turns must be 1 or more, got {arguments.turns}")
    from tests.e2e.harness import PATIENCE, browser, find_chromium

    executable = find_chromium()
    if executable is None:
        print("No Chromium was found; name one in REGVQ_CHROMIUM.", file=sys.stderr)
        return 2
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(arguments.address, Path(scratch)) as address,
        browser(executable) as chrome,
    ):
        page = chrome.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        opened = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("#checkpoint")
        whole = time.perf_counter() - (opened if arguments.address else started)
        say(
            "first page" + (" of a warm app" if arguments.address else ", from the command"),
            whole,
            WANTED["first page"],
        )
        page.wait_for_selector('.rv-stage[data-state="ready"]')
        say("first reconstruction", time.perf_counter() - opened)
        tabs(page)
        seconds = photograph(page, Path(scratch), 512, arguments.turns)
        say(f"photograph of 512 px, {arguments.turns} turns", seconds, WANTED["photograph"])
        photograph(page, Path(scratch), 256, 1)
        times = slider(page, 2 * arguments.turns)
        say(
            f"mask slider at 256 px, {len(times)} moves",
            statistics.median(times),
            WANTED["slider"],
            f", slowest {max(times):.2f} s",
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The speed of the explorer's charts by the size of the codebook; see ``app_speed.py --codes``.

Each size is a small tokenizer with random weights and an atlas. Measured in a headless Chromium
without a graphics processor: seconds from the click on a tab until it is drawn, the first time and
again; milliseconds from a move of the pointer to the tip; frames per second while the map is
dragged and while the wheel zooms; seconds from the end of a lasso to the selection; the heaviest
answer of the server; and the longest block of the page (a task of its main thread).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TARGETS = {"tab": 2.0, "hover": 100.0, "frames": 15.0, "frames in space": 12.0, "answer": 2.0,
           "block": 200.0}  # fmt: skip
CHARTS = {"Codebook": "#codebook", "Code map": "#code-map"}
CARDS = {"Codebook": "#code", "Code map": "#map-code"}
LISTEN = """
window.blocks = [];
const keep = (list) => window.blocks.push(...list.getEntries().map((one) => one.duration));
new PerformanceObserver(keep).observe({ type: "longtask", buffered: true });
window.frames_ = 0;
const count = () => { window.frames_++; requestAnimationFrame(count); };
requestAnimationFrame(count);
"""
HOVERS = """(chart) => {
  let moved = 0;
  window.hovers = [];
  document.addEventListener("mousemove", () => { moved = performance.now(); }, { capture: true });
  const keep = () => window.hovers.push(performance.now() - moved);
  new MutationObserver(keep).observe(document.querySelector(chart + " .rv-figure"),
    { attributeFilter: ["data-hovered"] });
}"""
"""Keeps the milliseconds from each move of the pointer to the tip of another code."""


def write_bundle(folder: Path, size: int) -> Path:
    """Write a tokenizer with ``size`` random codes and an atlas to ``folder``; return its path."""
    import numpy as np
    import torch

    from core.analysis.arrangement import rough_grid
    from core.analysis.atlas import LARGEST, grid_columns, mean_colors
    from core.analysis.embedding import pca_map
    from core.networks.autoencoder import NetworkConfig
    from core.quantizers import VQConfig
    from core.tokenizer import Tokenizer, TokenizerConfig

    network = NetworkConfig(widths=(8, 12, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=8)
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=size))).eval()
    draw = np.random.default_rng(0)
    codes = tokenizer.quantizer.codebook().detach().numpy()
    counts = (draw.pareto(1.1, size) * 20).astype(np.int64)
    atlas = {"counts": counts, "source": np.array("random numbers"), "pca": pca_map(codes)}
    if size <= LARGEST:
        f = tokenizer.downsampling
        colors = draw.integers(0, 256, (size, 1, 1, 3))
        noise = draw.integers(-20, 20, (size, f, f, 3))
        paints = np.clip(colors + noise, 0, 255).astype(np.uint8)
        columns = grid_columns(size)
        atlas |= {
            "paints": paints,
            "mean_color": mean_colors(paints),
            "order_similarity": np.arange(size),
            "grid": rough_grid(codes, columns),
            "grid_columns": np.array(columns),
            "neighbours": (np.arange(size)[:, None] + np.arange(1, 9)) % size,
        }
    path = folder / f"random-{size}"
    tokenizer.save_pretrained(path, atlas=atlas)
    return path


def line(what: str, value: float, unit: str, target: str | None = None) -> None:
    """Print one line of the table."""
    verdict = ""
    if target is not None:
        wanted = TARGETS[target]
        right = value >= wanted if target.startswith("frames") else value <= wanted
        verdict = (
            f"  {'ok' if right else 'MISSED'} ({'≥' if 'frames' in target else '≤'} {wanted:g})"
        )
    print(f"  {what:<38}{value:9.2f} {unit:<4}{verdict}", flush=True)


def opened(page: Any, tab: str) -> float:
    """Return the seconds from the click on a tab until its chart and its card are drawn."""
    from benchmarks.app_speed import waited

    ready = (
        f"() => document.querySelector('{CHARTS[tab]} .rv-figure')?.dataset.state === 'ready'"
        f" && document.querySelector('{CARDS[tab]} .rv-code')?.dataset.state === 'ready'"
        f" && document.querySelector('{CHARTS[tab]} .rv-figure').offsetParent"
    )
    known = "[...document.querySelectorAll('[role=tab]')]"
    return waited(page, f"() => {known}.find((t) => t.innerText.trim() === {tab!r}).click()", ready)


def frames(page: Any, act: Any, seconds: float = 2.0) -> float:
    """Return the frames per second while ``act`` is called again and again."""
    before, started = page.evaluate("window.frames_"), time.perf_counter()
    turn = 0
    while time.perf_counter() - started < seconds:
        act(turn)
        turn += 1
    passed = time.perf_counter() - started
    return (page.evaluate("window.frames_") - before) / passed


def chart(page: Any, tab: str, answers: list[int]) -> None:
    """Print the figures of a tab's chart."""
    page.evaluate("window.blocks.length = 0")
    line(f"{tab}, first opening", opened(page, tab), "s", "tab")
    page.get_by_role("tab", name="About", exact=True).click()
    page.wait_for_timeout(500)
    line(f"{tab}, second opening", opened(page, tab), "s", "tab")
    page.wait_for_timeout(1500)
    plot = page.locator(f"{CHARTS[tab]} .rv-figure-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(HOVERS, CHARTS[tab])
    for turn in range(24):
        page.mouse.move(x + 23 * (turn - 12), y + 17 * (turn % 5 - 2))
        page.wait_for_timeout(120)
    hovers = sorted(page.evaluate("window.hovers"))
    if hovers:
        line(f"{tab}, hover ({len(hovers)} tips)", hovers[len(hovers) // 2], "ms", "hover")
    plot.get_by_role("button", name="Pan").click()
    page.mouse.move(x, y)
    page.mouse.down()

    def drag(turn: int) -> None:
        page.mouse.move(x + 60 * ((turn % 8) - 4), y + 40 * ((turn % 6) - 3))

    line(f"{tab}, dragging", frames(page, drag), "fps", "frames")
    page.mouse.up()
    page.wait_for_timeout(1500)
    zoomed = frames(page, lambda turn: page.mouse.wheel(0, -40 if turn % 40 < 20 else 40))
    line(f"{tab}, zooming by the wheel", zoomed, "fps", "frames")
    page.wait_for_timeout(2000)
    plot.press("0")
    page.wait_for_timeout(1500)
    plot.get_by_role("button", name="Lasso Select").click()
    page.mouse.move(x - 150, y - 120)
    page.mouse.down()
    for right, down in ((150, -120), (150, 120), (-150, 120)):
        page.mouse.move(x + right, y + down, steps=6)
    page.mouse.up()
    started = time.perf_counter()
    page.wait_for_selector(f"{CHARTS[tab]} .rv-figure[data-chosen]")
    line(f"{tab}, lasso", time.perf_counter() - started, "s")
    plot.press("Escape")
    page.wait_for_timeout(1500)
    line(f"{tab}, longest block", max(page.evaluate("window.blocks"), default=0), "ms", "block")
    line(f"{tab}, heaviest answer", max(answers, default=0) / 1e6, "MB", "answer")
    answers.clear()


def space(page: Any) -> None:
    """Print the frames per second of the map in three dimensions while it is turned."""
    page.locator("#map-axes input").click()
    page.get_by_role("option", name="3-D").click()
    page.wait_for_selector("#code-map .rv-figure[data-layout=pca3]")
    page.wait_for_timeout(2000)
    box = page.locator("#code-map .rv-figure-plot").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    turned = frames(page, lambda turn: page.mouse.move(x + 30 * (turn % 9 - 4), y + 9 * (turn % 5)))
    page.mouse.up()
    line("Code map in 3-D, turning", turned, "fps", "frames in space")


def measure(sizes: list[int]) -> int:
    """Print the table of each size; return 0, or 2 without a browser."""
    from tests.e2e.harness import PATIENCE, browser, find_chromium, running_app

    executable = find_chromium()
    if executable is None:
        print("No Chromium was found; name one in REGVQ_CHROMIUM.", file=sys.stderr)
        return 2
    for size in sizes:
        print(f"{size:,} codes", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            settings = {
                "REGVQ_CHECKPOINTS": str(write_bundle(folder, size)),
                "REGVQ_CACHE": str(folder / "cache"),
            }
            with (
                running_app(folder / "app.log", settings=settings) as address,
                browser(executable) as chrome,
            ):
                page = chrome.new_page(viewport={"width": 1440, "height": 1000})
                page.set_default_timeout(PATIENCE)
                visit(page, address, size)
    return 0


def visit(page: Any, address: str, size: int) -> None:
    """Print the table of one size."""
    answers: list[int] = []
    page.add_init_script(LISTEN)
    page.on("requestfinished", lambda one: answers.append(_weight(one, address)))
    page.goto(f"{address}/?checkpoint=random-{size}")
    page.get_by_text(f"{size:,} learned codes").wait_for()
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    page.wait_for_timeout(3000)
    answers.clear()
    for tab in CHARTS:
        chart(page, tab, answers)
    space(page)


def _weight(request: Any, address: str) -> int:
    """Return the bytes of an answer's body as they were sent."""
    if not request.url.startswith(address) or "heartbeat" in request.url:
        return 0
    try:
        return int(request.sizes()["responseBodySize"])
    except Exception:  # a request that was cut off has no sizes
        return 0

"""A page that nobody touches is quiet: it sends requests when it opens, and none afterwards.

A component that the server sets must not start the listeners of a choice made by a person; they
would set it again, for as long as the page is open.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app.services import checkpoints, priors
from app.services.examples import examples
from app.services.links import TABS
from tests.e2e.harness import PATIENCE, go

pytestmark = pytest.mark.browser

SETTLED, WATCHED = 5, 15
"""Seconds after the last answer between which a page may send nothing."""
SIDE_BY_SIDE = 6
"""Pages that are open at the same time."""


CURVE = '#mask-curve .rv-figure[data-state="ready"]'
REFUSAL = ':text("always takes the best code")'
"""Shown in place of the curve for a checkpoint without a mask."""


def link(**selected: Any) -> str:
    return urlencode(selected)


def kinds_of_links() -> list[str]:
    """Return a link for each value that a link can name, one for each tab, and one with all."""
    first, last = checkpoints.names()[0], checkpoints.names()[-1]
    example, prior = Path(examples()[-1].path).stem, priors.names("text")[0]
    words = {"prior": prior, "prompt": "snow at night", "prompt-seed": 7}
    whole = {"checkpoint": last, "example": example, "code": 5, "ratio": 0.5, "seed": 3}
    return [
        "",
        link(checkpoint=first),
        link(checkpoint=last),
        link(example=example),
        link(code=17),
        link(ratio=0.5, seed=3),
        *(link(tab=tab, **whole) for tab in TABS),
        link(tab="masks", checkpoint="photos-vq"),  # a refusal that offers another checkpoint
        link(tab="generate", **words),
        link(tab="nowhere", checkpoint="../../etc", code=-1, ratio="x"),  # all of it is ignored
    ]


def sample_of_links(count: int = 20) -> list[str]:
    """Return links to (checkpoint, tab, code), the same ones in every run."""
    draw, names, tabs = random.Random(16), checkpoints.names(), list(TABS)
    return [
        link(tab=draw.choice(tabs), checkpoint=draw.choice(names), code=draw.randrange(64))
        for _ in range(count)
    ]


def watch_quiet_pages(links: Sequence[str], app: str, visit: Any) -> None:
    """Open the links side by side and fail if a page sends a request while nobody touches it.

    Not counted is what was sent before: a page's heartbeat, a stream of Gradio's that is opened
    with the page and stays open, so that the server learns when the page is closed. The lab, which
    trains by itself until its last step, waits for a visitor who prefers reduced motion, as here.
    """
    visits = []
    for query in links:
        one = visit(reduced_motion="reduce")
        one.page.set_default_timeout(PATIENCE)
        one.page.goto(f"{app}/?{query}")
        visits.append(one)
    for query, one in zip(links, visits, strict=True):
        one.page.wait_for_selector("#tabs button[aria-selected=true]")
        if "tab=masks" in query:  # the curve asks for its points one after the other
            one.page.wait_for_selector(f"{CURVE}, {REFUSAL}")
        if "tab=compare" in query:
            one.page.wait_for_selector('.rv-compare[data-state="ready"]')
        if "tab=lab" in query:
            one.page.wait_for_selector('.rv-lab[data-step="0"]')
        one.settle()
    visits[0].page.wait_for_timeout(1000 * SETTLED)
    before = [len(one.requests) for one in visits]
    visits[0].page.wait_for_timeout(1000 * (WATCHED - SETTLED))
    late = {
        query: one.requests[count:]
        for query, one, count in zip(links, visits, before, strict=True)
        if len(one.requests) > count
    }
    assert late == {}
    for one in visits:
        one.context.close()


def test_links_of_each_kind_open_pages_that_become_quiet(app: str, visit: Any) -> None:
    names = checkpoints.names()
    watch_quiet_pages(
        [
            link(tab="codemap", checkpoint="photos-vq", code=9),
            link(tab="masks", checkpoint=names[1], ratio=0.5),
            link(tab="generate", prompt="snow at night"),
            link(tab="compare", checkpoint=names[2]),
        ],
        app,
        visit,
    )


@pytest.mark.long
def test_all_kinds_of_links_and_a_sample_open_pages_that_become_quiet(app: str, visit: Any) -> None:
    links = [*kinds_of_links(), *sample_of_links()]
    for start in range(0, len(links), SIDE_BY_SIDE):
        watch_quiet_pages(links[start : start + SIDE_BY_SIDE], app, visit)


def calls(one: Any) -> int:
    """Return how many calls the page has sent to the queues."""
    return len([url for url in one.requests if "/queue/join" in url])


def wait_for_calls(one: Any, count: int) -> None:
    """Wait until a page has sent so many calls, and then until it sends no more."""
    for _ in range(80):  # on a busy machine, a page may wait before it asks
        if calls(one) >= count:
            break
        one.page.wait_for_timeout(250)
    one.settle()


def test_an_opened_tab_asks_once(app: str, visit: Any) -> None:
    one = visit()
    one.page.set_default_timeout(PATIENCE)
    one.page.goto(f"{app}/?{link(tab='codebook', code=5)}")
    one.page.wait_for_selector('#code .rv-code[data-code="5"]')
    one.page.wait_for_selector('#codebook .rv-figure[data-state="ready"]')
    one.settle()
    assert calls(one) == 3  # the page, the codebook, the code
    go(one.page, "Code map")
    one.page.wait_for_selector('#code-map .rv-figure[data-state="ready"]')
    wait_for_calls(one, 6)
    assert calls(one) == 6  # the map, the code, the maps of other checkpoints
    go(one.page, "Codebook")
    wait_for_calls(one, 8)
    assert calls(one) == 8


def test_a_choice_made_by_a_person_starts_work_once(app: str, visit: Any) -> None:
    one = visit()
    page = one.page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{app}/")
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    one.settle()
    shown = page.locator(".rv-over").evaluate("image => image.src")
    joined = calls(one)
    box = page.get_by_label("Checkpoint", exact=True)
    box.click()
    page.get_by_role("option", name="study-vqgan-fast").click()
    page.wait_for_function("src => document.querySelector('.rv-over').src !== src", arg=shown)
    one.settle()
    # The list reports the choice twice; the hidden tabs ask when they are opened.
    assert calls(one) == joined + 1
    go(page, "About")
    page.locator("#card h1", has_text="study-vqgan-fast").wait_for()

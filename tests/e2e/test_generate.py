"""The tab Generate in a real browser, on priors with random weights: what is asked is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.services import checkpoints
from tests.e2e.conftest import Visit
from tests.e2e.harness import open_explorer, open_generate, running_app
from tests.e2e.test_explorer import picture_at
from tests.helpers.tiny_priors import prior_bundles, tiny_tokenizer

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def gallery(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app with three priors beside what ships."""
    root = tmp_path_factory.mktemp("priors")
    tokenizer = tiny_tokenizer(root / "own" / "tiny-tokens")
    prior_bundles(root / "bundles", tokenizer, ("words", "planned", "sketcher"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", str(root / "bundles"))
        assert checkpoints.names()  # something ships, too
        with running_app(tmp_path_factory.mktemp("app") / "app.log") as address:
            yield address


def painted(page: Any, after: str = "") -> list[np.ndarray]:
    """The pictures of the run that follows run ``after``."""
    page.wait_for_function(
        "after => { const easel = document.querySelector('.rv-easel').dataset;"
        " return easel.state === 'done' && easel.run !== after; }",
        arg=after,
    )
    count = page.locator(".rv-tile img").count()
    return [picture_at(page, f".rv-tile:nth-child({i + 1}) img") for i in range(count)]


def choose(page: Any, prior: str) -> None:
    page.locator("#prior input").click()
    page.get_by_role("option", name=prior, exact=True).click()


def test_words_a_map_and_a_hole_become_pictures(gallery: str, chrome: Any) -> None:
    visit = Visit(chrome, viewport={"width": 1440, "height": 900})
    page = visit.page
    open_explorer(page, gallery)
    open_generate(page)
    choose(page, "words")
    page.wait_for_function(
        "document.querySelector('#prior').parentElement.textContent.includes('discrete diffusion')"
    )

    # An empty prompt gets a sentence, and nothing is lost.
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_function(
        "document.querySelector('.rv-easel').dataset.problem.includes('prompt is empty')"
    )
    page.locator("#prompts button").first.click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.length > 10")
    page.get_by_role("button", name="Paint", exact=True).click()
    first = painted(page)
    assert len(first) == 4 and first[0].shape == (32, 32, 3)
    # The same seed draws the same pictures.
    run = page.locator(".rv-easel").get_attribute("data-run")
    page.get_by_role("button", name="Paint", exact=True).click()
    again = painted(page, after=run)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))

    # A map: painted over with the brush, and drawn from.
    page.get_by_label("From a map").check(force=True)
    page.wait_for_selector("#map-painter .rv-painter[data-state=ready]")
    # Another prior brings its own paper. Until it has come, nothing is painted that would be lost.
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    choose(page, "planned")
    page.wait_for_selector("#map-painter .rv-painter[data-state=busy]")
    page.locator("#map-painter canvas").click()
    assert page.locator("#map-painter .rv-painter[data-strokes]").count() == 0
    page.unroute("**/queue/join*")  # which lets go on what was held
    page.wait_for_selector("#map-painter .rv-painter[data-state=ready]")
    assert page.locator("#map-painter canvas").evaluate("canvas => canvas.width") == 32
    page.get_by_role("radio", name="rainbow").click()
    board = page.locator("#map-painter canvas")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    colour = board.evaluate(
        "canvas => [...canvas.getContext('2d')"
        ".getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data].slice(0, 3)"
    )
    assert colour == [214, 92, 214]
    run = page.locator(".rv-easel").get_attribute("data-run")
    page.get_by_role("button", name="Paint", exact=True).click()
    mapped = painted(page, after=run)
    assert len(mapped) == 4

    # One of them, its middle rubbed out: the rest is kept.
    run = page.locator(".rv-easel").get_attribute("data-run")
    page.locator(".rv-tile").first.hover()
    page.get_by_role("button", name="Repaint a part of picture 1").click()
    page.wait_for_selector("#mask-painter .rv-painter[data-state=ready]")
    board = page.locator("#mask-painter canvas")
    board.scroll_into_view_if_needed()
    board.click(position={"x": 10, "y": 10})
    page.wait_for_selector("#mask-painter .rv-painter[data-strokes]")
    marked = int(page.locator("#mask-painter .rv-painter").get_attribute("data-marked"))
    assert 1 <= marked < 16
    page.get_by_role("button", name="Paint", exact=True).click()
    painted(page, after=run)
    assert f"{marked} tokens repainted" in page.locator(".rv-easel-words").inner_text()

    # Taken up again, an earlier run draws what it drew: of the map, of the words.
    for back, way, prior, drawn in ((1, "From a map", "planned", mapped),
                                    (-1, "From words", "words", first)):  # fmt: skip
        run = page.locator(".rv-easel").get_attribute("data-run")
        page.locator(".rv-earlier-again").nth(back).click()
        page.locator(f'#way input[value="{way}"]:checked').wait_for(state="attached")
        page.wait_for_function(
            "prior => document.querySelector('#prior input').value === prior", arg=prior
        )
        visit.settle()
        page.get_by_role("button", name="Paint", exact=True).click()
        again = painted(page, after=run)
        assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True)), way

    # Saved, it is a picture.
    with page.expect_download() as saved:
        page.locator(".rv-tile").first.hover()
        page.get_by_role("link", name="Save picture 1").click()
    assert Image.open(Path(saved.value.path())).size == (32, 32)
    outside = [url for url in visit.requests if not url.startswith((gallery, "data:", "blob:"))]
    visit.context.close()
    assert outside == [] and visit.complaints == []


def test_the_map_that_was_drawn_first_can_be_painted_on(gallery: str, chrome: Any) -> None:
    visit = Visit(chrome, viewport={"width": 1440, "height": 900})
    page = visit.page
    open_explorer(page, gallery)
    open_generate(page)
    choose(page, "sketcher")
    page.wait_for_function(
        "document.querySelector('#prior').parentElement.textContent.includes('a map first')"
    )
    page.locator("#prompts button").first.click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.length > 10")
    prompt = page.locator("#prompt textarea").input_value()
    page.get_by_role("button", name="Paint", exact=True).click()
    assert len(painted(page)) == 4

    run = page.locator(".rv-easel").get_attribute("data-run")
    page.locator(".rv-tile").nth(1).hover()
    page.get_by_role("button", name="Paint on the map of picture 2").click()
    page.wait_for_selector("#map-painter .rv-painter[data-state=ready]")
    page.locator('#way input[value="From a map"]:checked').wait_for(state="attached")
    visit.settle()
    assert page.locator("#prior input").input_value() == "sketcher"
    assert page.locator("#prompt textarea").input_value() == prompt
    board = page.locator("#map-painter canvas")
    assert board.evaluate("canvas => [canvas.width, canvas.height]") == [32, 32]
    # Cells of the map are squares of one colour.
    colours = board.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 32, 32).data]"
    )
    pixels = np.array(colours, np.uint8).reshape(4, 8, 4, 8, 4)
    assert (pixels == pixels[:, :1, :, :1]).all()
    page.get_by_role("button", name="Paint", exact=True).click()
    assert len(painted(page, after=run)) == 4
    # A picture of a map that was given has none of its own.
    assert page.get_by_role("button", name="Paint on the map of picture 2").count() == 0
    visit.context.close()
    assert visit.complaints == []

"""The tab Generate in a real browser, on priors with random weights."""

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
    """Yield the address of the app with three priors besides the shipped ones."""
    root = tmp_path_factory.mktemp("priors")
    tokenizer = tiny_tokenizer(root / "own" / "tiny-tokens")
    prior_bundles(root / "bundles", tokenizer, ("words", "planned", "sketcher"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", str(root / "bundles"))
        assert checkpoints.names()  # some are shipped
        with running_app(tmp_path_factory.mktemp("app") / "app.log") as address:
            yield address


def generated(page: Any, after: str = "") -> list[np.ndarray]:
    """Return the pictures of the run that follows run ``after``."""
    page.wait_for_function(
        "after => { const results = document.querySelector('.rv-results').dataset;"
        " return results.problem || (results.state === 'done' && results.run !== after); }",
        arg=after,
    )
    assert page.locator(".rv-results").get_attribute("data-problem") == ""
    count = page.locator(".rv-tile img").count()
    return [picture_at(page, f".rv-tile:nth-child({i + 1}) img") for i in range(count)]


def choose(page: Any, prior: str) -> None:
    page.locator("#prior input").click()
    page.get_by_role("option", name=prior, exact=True).click()


def test_pictures_from_text_from_a_map_and_by_inpainting(
    gallery: str, chrome: Any, tmp_path: Path
) -> None:
    visit = Visit(chrome, viewport={"width": 1440, "height": 900})
    page = visit.page
    open_explorer(page, gallery)
    open_generate(page)
    choose(page, "words")
    page.wait_for_function(
        "document.querySelector('#prior').parentElement.textContent.includes('discrete diffusion')"
    )

    # An empty prompt gets a sentence, and nothing is lost.
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_function(
        "document.querySelector('.rv-results').dataset.problem.includes('prompt is empty')"
    )
    page.locator(".rv-results").evaluate("one => { one.dataset.problem = ''; }")  # it was seen
    page.locator("#prompts button").first.click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.length > 10")
    page.get_by_role("button", name="Generate", exact=True).click()
    first = generated(page)
    assert len(first) == 4 and first[0].shape == (32, 32, 3)
    # The same seed gives the same pictures.
    run = page.locator(".rv-results").get_attribute("data-run")
    page.get_by_role("button", name="Generate", exact=True).click()
    again = generated(page, after=run)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))

    # A semantic map, changed with the brush.
    page.get_by_label("Semantic map").check(force=True)
    page.wait_for_selector("#map-canvas .rv-canvas[data-state=ready]")
    # Another prior has its own canvas; until it has loaded, nothing can be drawn.
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    choose(page, "planned")
    page.wait_for_selector("#map-canvas .rv-canvas[data-state=busy]")
    page.locator("#map-canvas canvas").click()
    assert page.locator("#map-canvas .rv-canvas[data-strokes]").count() == 0
    page.unroute("**/queue/join*")  # which releases the held requests
    page.wait_for_selector("#map-canvas .rv-canvas[data-state=ready]")
    assert page.locator("#map-canvas canvas").evaluate("canvas => canvas.width") == 32
    # A map with transparent pixels is refused, and the drawing stays.
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    page.locator("#map-canvas input[type=file]").set_input_files(tmp_path / "clear.png")
    page.locator(
        "#map-canvas .rv-canvas-note", has_text="transparent in 100 % of its pixels"
    ).wait_for()
    assert page.locator("#map-canvas .rv-canvas[data-strokes]").count() == 0
    page.get_by_role("radio", name="rainbow").click()
    board = page.locator("#map-canvas canvas")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    color = board.evaluate(
        "canvas => [...canvas.getContext('2d')"
        ".getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data].slice(0, 3)"
    )
    assert color == [214, 92, 214]
    run = page.locator(".rv-results").get_attribute("data-run")
    page.get_by_role("button", name="Generate", exact=True).click()
    mapped = generated(page, after=run)
    assert len(mapped) == 4

    # One of them, a part erased: the rest is kept.
    run = page.locator(".rv-results").get_attribute("data-run")
    page.locator(".rv-tile").first.hover()
    page.get_by_role("button", name="Inpaint a part of picture 1").click()
    page.wait_for_selector("#inpaint-canvas .rv-canvas[data-state=ready]")
    board = page.locator("#inpaint-canvas canvas")
    board.scroll_into_view_if_needed()
    board.click(position={"x": 10, "y": 10})
    page.wait_for_selector("#inpaint-canvas .rv-canvas[data-strokes]")
    marked = int(page.locator("#inpaint-canvas .rv-canvas").get_attribute("data-marked"))
    assert 1 <= marked < 16
    page.get_by_role("button", name="Generate", exact=True).click()
    generated(page, after=run)
    assert f"{marked} tokens inpainted" in page.locator(".rv-results-status").inner_text()

    # A restored run gives the same pictures: from the map, from the text.
    for back, mode, prior, expected in (
        (1, "semantic", "planned", mapped),
        (-1, "text", "words", first),
    ):
        run = page.locator(".rv-results").get_attribute("data-run")
        page.locator(".rv-earlier-again").nth(back).click()
        page.locator(f'#mode input[value="{mode}"]:checked').wait_for(state="attached")
        page.wait_for_function(
            "prior => document.querySelector('#prior input').value === prior", arg=prior
        )
        page.get_by_role("button", name="Generate", exact=True).click()
        again = generated(page, after=run)
        assert all(np.array_equal(a, b) for a, b in zip(expected, again, strict=True)), mode

    # A saved file is a picture.
    with page.expect_download() as saved:
        page.locator(".rv-tile").first.hover()
        page.get_by_role("link", name="Save picture 1").click()
    assert Image.open(Path(saved.value.path())).size == (32, 32)
    outside = [url for url in visit.requests if not url.startswith((gallery, "data:", "blob:"))]
    visit.context.close()
    assert outside == [] and visit.errors == []


HELD_END = """
const plain = window.fetch;
window.streams = 0;
window.fetch = async (...request) => {
  const response = await plain(...request);
  if (!String(request[0].url ?? request[0]).includes("/queue/data")) return response;
  window.streams += 1;
  const held = new TransformStream({
    async transform(bytes, out) {
      const [now, end] = new TextDecoder().decode(bytes).split('data: {"msg":"close_stream"');
      out.enqueue(new TextEncoder().encode(now));
      if (end === undefined) return;
      if (window.holding) await new Promise((go) => { window.release = go; });
      out.enqueue(new TextEncoder().encode('data: {"msg":"close_stream"' + end));
    },
    flush() { window.streams -= 1; },
    cancel() { window.streams -= 1; },  // the page has read enough
  });
  return new Response(response.body.pipeThrough(held), { headers: response.headers });
};
"""
"""A busy page: it learns that the stream of its answers has ended when ``release`` is called."""


def test_a_request_sent_while_the_stream_of_answers_ends_is_answered(
    gallery: str, chrome: Any
) -> None:
    visit = Visit(chrome, viewport={"width": 1440, "height": 900})
    page = visit.page
    page.add_init_script(HELD_END)
    open_explorer(page, gallery)
    open_generate(page)
    choose(page, "sketcher")
    page.locator("#prompts button").first.click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.length > 10")
    press = page.get_by_role("button", name="Generate", exact=True)
    press.click()  # at once: the run waits for the prior's settings
    assert len(generated(page)) == 4
    for _ in range(2):
        run = page.locator(".rv-results").get_attribute("data-run")
        page.wait_for_function("window.streams === 0")
        page.evaluate("window.holding = true")
        press.click()
        assert len(generated(page, after=run)) == 4
        page.wait_for_function("Boolean(window.release)")
        run = page.locator(".rv-results").get_attribute("data-run")
        with page.expect_response("**/queue/join*"):
            press.click()
        page.evaluate("window.holding = false; window.release(); window.release = null;")
        assert len(generated(page, after=run)) == 4
    visit.context.close()
    assert visit.errors == []


def test_the_map_of_a_two_stage_prior_can_be_used(gallery: str, chrome: Any) -> None:
    visit = Visit(chrome, viewport={"width": 1440, "height": 900})
    page = visit.page
    open_explorer(page, gallery)
    open_generate(page)
    choose(page, "sketcher")
    page.wait_for_function(
        "document.querySelector('#prior').parentElement"
        ".textContent.includes('a semantic map first')"
    )
    page.locator("#prompts button").first.click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.length > 10")
    prompt = page.locator("#prompt textarea").input_value()
    page.get_by_role("button", name="Generate", exact=True).click()
    assert len(generated(page)) == 4

    run = page.locator(".rv-results").get_attribute("data-run")
    page.locator(".rv-tile").nth(1).hover()
    page.get_by_role("button", name="Use the map of picture 2").click()
    page.wait_for_selector("#map-canvas .rv-canvas[data-state=ready]")
    page.locator('#mode input[value="semantic"]:checked').wait_for(state="attached")
    assert page.locator("#prior input").input_value() == "sketcher"
    assert page.locator("#prompt textarea").input_value() == prompt
    board = page.locator("#map-canvas canvas")
    assert board.evaluate("canvas => [canvas.width, canvas.height]") == [32, 32]
    # Cells of the map are squares of one color.
    colors = board.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 32, 32).data]"
    )
    pixels = np.array(colors, np.uint8).reshape(4, 8, 4, 8, 4)
    assert (pixels == pixels[:, :1, :, :1]).all()
    page.get_by_role("button", name="Generate", exact=True).click()
    assert len(generated(page, after=run)) == 4
    # A picture from a given map has no map of its own.
    assert page.get_by_role("button", name="Use the map of picture 2").count() == 0
    visit.context.close()
    assert visit.errors == []

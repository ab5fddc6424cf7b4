"""Links to the current view: untrusted when read, without the user's own picture when written."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services import examples
from app.services.links import Selection, parse_query, to_query

NAME = "tiny-regvq"


def test_a_written_link_is_read_back() -> None:
    example = Path(examples.examples()[-1].path).stem
    selection = Selection("codemap", "tiny-vq", example, 17, 0.35, 5, None, "snow & a lake = ☃?", 9)
    assert parse_query("?" + to_query(selection)) == selection
    assert to_query(selection).startswith("tab=codemap&checkpoint=tiny-vq&")
    assert (
        to_query(Selection("codebook", NAME, None, 0, 0, 0))
        == f"tab=codebook&checkpoint={NAME}&code=0"
    )
    assert parse_query("") == parse_query(None) == parse_query("?__theme=dark") == Selection()


def test_links_that_were_copied_earlier_still_work() -> None:
    query = (
        "?tab=codemap&checkpoint=tiny-vq&example=scene-45&code=17&ratio=0.35&seed=5"
        "&prompt=a+lake&prompt-seed=9"
    )
    expected = Selection("codemap", "tiny-vq", "scene-45", 17, 0.35, 5, None, "a lake", 9)
    assert parse_query(query) == expected
    for tab in (
        "reconstruct",
        "codebook",
        "codemap",
        "masks",
        "generate",
        "compare",
        "lab",
        "about",
    ):
        assert parse_query(f"?tab={tab}").tab == tab


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("tab=admin", "no tab called 'admin'"),
        ("checkpoint=../../etc/passwd", "no checkpoint called '../../etc/passwd'"),
        ("example=file:///etc/passwd", "no example called"),
        ("code=60", "a number from 0 to 59, not '60'"),
        ("checkpoint=tiny-vq&code=1e400", "from 0 to 59"),
        ("code=seven", "not 'seven'"),
        ("code=", "not ''"),
        ("ratio=nan", "a number from 0 to 1"),
        ("seed=-1", "The seed must be a number from 0"),
        ("prompt-seed=1.5", "a whole number"),
        ("prior=none-such", "no text-conditioned prior called 'none-such'"),
        ("prompt=" + "x" * 501, "500 characters at most, not 501"),
        ("prompt=a%0Ab", "one line of plain text"),
    ],
)
def test_a_value_that_does_not_fit_is_ignored_with_a_sentence(query: str, named: str) -> None:
    *rest, (bad, _) = [part.split("=") for part in query.split("&")]
    good = "ratio=0.5" if bad != "ratio" else "tab=lab"
    selection = parse_query(f"?{good}&{query}")
    assert len(selection.ignored) == 1 and named in selection.ignored[0], selection
    assert getattr(selection, bad.replace("-", "_")) is None
    # The other values are used.
    assert (selection.ratio, selection.tab) in (
        (0.5, None),
        (None, "lab"),
    )
    assert not rest or selection.checkpoint == "tiny-vq"


@pytest.mark.parametrize(
    "prompt", ["a\u00a0bird", "\u4e00\u3000\u9ce5", "a \U0001f468\u200d\U0001f33e"]
)
def test_a_prompt_may_have_any_letters(prompt: str) -> None:
    selection = Selection("generate", prompt=prompt, prompt_seed=1)
    assert parse_query("?" + to_query(selection)) == selection


def test_a_link_with_hundreds_of_values_is_ignored() -> None:
    selection = parse_query("tab=lab&" + "&".join(f"a{k}=1" for k in range(500)))
    assert selection.tab is None and "too many values" in selection.ignored[0]

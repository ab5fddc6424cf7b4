"""Links to what is picked: read as strangers' text, and written without a visitor's picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app import shell
from app.services import examples, links
from app.services.links import Picks, link, read

NAME = "tiny-regvq"


def test_what_is_written_is_read_again() -> None:
    example = Path(examples.examples()[-1].path).stem
    picks = Picks("codemap", "tiny-vq", example, 17, 0.35, 5, None, "snow & a lake = ☃?", 9)
    assert read("?" + link(picks)) == picks
    assert link(picks).startswith("tab=codemap&checkpoint=tiny-vq&")
    assert link(Picks("codebook", NAME, None, 0, 0, 0)) == f"tab=codebook&checkpoint={NAME}&code=0"
    assert read("") == read(None) == read("?__theme=dark") == Picks()


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
        ("prior=none-such", "no prior that paints words called 'none-such'"),
        ("prompt=" + "x" * 501, "500 characters at most, not 501"),
        ("prompt=a%0Ab", "one line of plain text"),
    ],
)
def test_what_does_not_fit_is_left_out_with_a_sentence(query: str, named: str) -> None:
    *rest, (bad, _) = [part.split("=") for part in query.split("&")]
    good = "ratio=0.5" if bad != "ratio" else "tab=lab"
    picks = read(f"?{good}&{query}")
    assert len(picks.ignored) == 1 and named in picks.ignored[0], picks
    assert getattr(picks, bad.replace("-", "_")) is None
    assert (picks.ratio, picks.tab) in ((0.5, None), (None, "lab"))  # the rest of it holds
    assert not rest or picks.checkpoint == "tiny-vq"


def test_a_link_with_hundreds_of_values_is_not_read() -> None:
    picks = read("tab=lab&" + "&".join(f"a{k}=1" for k in range(500)))
    assert picks.tab is None and "holds too much" in picks.ignored[0]


def test_the_page_opens_where_the_link_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("gradio.Warning", lambda text, **_: said.append(text))
    opened = shell.welcome("?tab=codemap&checkpoint=tiny-vq&code=17&seed=x")
    assert opened[0]["value"] == "tiny-vq"
    assert opened[3] == "Code map" and opened[4] == 17
    assert opened[2] == examples.examples()[0].path
    assert len(said) == 1 and "without its seed" in said[0]
    assert "value" not in shell.welcome("", "tiny-vq")[0]
    assert list(links.TABS) == [tab.id for tab in _tabs()]
    assert list(links.TABS.values()) == [tab.label for tab in _tabs()]


def _tabs() -> list:
    import gradio as gr

    return [block for block in shell.build_app().blocks.values() if isinstance(block, gr.Tab)]


def test_a_visitors_picture_is_never_in_the_link(photograph: Path, tmp_path: Path) -> None:
    example = examples.examples()[-1].path
    cached = shutil.copy(example, tmp_path)  # as Gradio's cache has it
    rest = (17, 0.0, 0, "words", "my secret", 3)
    mine = shell.copy_link("Codebook", NAME, str(photograph), *rest)
    assert mine["own"] and mine["query"] == f"tab=codebook&checkpoint={NAME}&code=17"
    theirs = shell.copy_link("Codebook", NAME, cached, *rest)
    assert not theirs["own"] and f"example={Path(example).stem}" in theirs["query"]
    # An upload that bears an example's name is the visitor's all the same.
    forged = tmp_path / "own" / Path(example).name
    forged.parent.mkdir()
    shutil.copy(photograph, forged)
    assert shell.copy_link("Codebook", NAME, str(forged), *rest)["own"]
    assert "example" not in shell.copy_link("Codebook", NAME, str(forged), *rest)["query"]
    painting = shell.copy_link("Generate", NAME, cached, *rest)["query"]
    assert "prompt=my+secret" in painting and "prompt-seed=3" in painting

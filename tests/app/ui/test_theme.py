"""The look: contrast, no requests to elsewhere, templates that Gradio does not change."""

from __future__ import annotations

import re

import pytest

from app import server
from app.services import uploads
from app.tabs.shared_inputs import example_strip
from app.ui import component, theme

TEXTS = (".html", ".css", ".js", ".svg")


def luminance(color: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *((t, g) for t in ("ink", "ink-soft", "accent") for g in ("ground", "surface", "sunken")),
        ("ink", "accent-soft"),
        ("on-accent", "accent"),
        ("on-plate", "plate"),
        ("warm", "ground"),
    ],
)
def test_text_has_contrast_aa(text: str, ground: str, dark: bool) -> None:
    lights = sorted(luminance(theme.PALETTE[name][dark]) for name in (text, ground))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


def test_the_page_requests_no_font_or_script_from_elsewhere() -> None:
    assert theme.StudioTheme()._stylesheets == []
    texts = [file for file in component.STATIC.rglob("*") if file.suffix in TEXTS]
    everything = theme.stylesheet() + "".join(file.read_text(encoding="utf-8") for file in texts)
    outside = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z.]+", everything.replace("www.w3.org", ""))
    assert outside == []


def test_templates_are_plain_html() -> None:
    for file in component.STATIC.rglob(
        "*.html"
    ):  # Gradio passes them through two template languages
        assert not re.search(r"`|\$\{|\{\{", file.read_text(encoding="utf-8")), file.name


def test_the_page_says_how_large_a_picture_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for megabytes, words in ((None, "20 MB"), ("2.5", "2.5 MB")):
        if megabytes:
            monkeypatch.setenv("REGVQ_UPLOAD_MB", megabytes)
        note = example_strip().html_template
        assert f"{uploads.MAX_SIDE:,} pixels" in note
        assert f"{server.launch_options()['max_file_size'] / 2**20:g} MB" == words
        assert f"Up to {words};" in note and "LIMIT" not in note


def test_the_stylesheet_has_the_rules_of_every_component_once() -> None:
    styles = theme.stylesheet()
    files = sorted(component.STATIC.rglob("*.css"))
    assert len(files) > 15
    for file in files:
        assert styles.count(file.read_text(encoding="utf-8")) == 1, file.name
    # The shared rules come first, so that a component can override them.
    assert styles.index(component.static_text("shared/panels.css")) < styles.index(
        component.asset("canvas", "css")
    )


def test_every_component_folder_is_complete() -> None:
    for folder in component.STATIC.iterdir():
        if folder.name != "shared":
            assert (folder / f"{folder.name}.html").is_file(), folder.name
            assert (folder / f"{folder.name}.js").is_file(), folder.name


def test_shared_helpers_are_defined_once() -> None:
    shared = component.static_text("shared/regvq.js")
    helpers = ("unpack", "pack", "html", "svg", "penOn", "drawTile", "placeTip", "radios")
    assert all(re.search(rf"^  {name}[:(]", shared, re.MULTILINE) for name in helpers)
    for file in component.STATIC.glob("*/*.js"):
        if file.parent.name != "shared":
            text = file.read_text(encoding="utf-8")
            again = [name for name in helpers if re.search(rf"(function|const) {name}\b", text)]
            assert again == [], file.name

"""One visual language: palette and type scale, for light and dark.

The palette (``regvq.plots.style``) is the single source of colors: Gradio's theme, the stylesheet
(as ``--rv-*`` variables) and the charts read it. Fonts are system stacks, so the page requests no
font. The color scale of heat maps is ``core.analysis.rendering.ramp``, so that a notebook shows the
same colors.
"""

from __future__ import annotations

import json

import gradio as gr

from regvq.plots.lab import LAB_METHODS
from regvq.plots.style import METHODS, PALETTE, dark_pairs

from .component import STATIC, static_text
from .plotly_file import ROUTES

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Inter", "Roboto", "sans-serif")
SERIF = '"Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", Georgia, serif'
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "JetBrains Mono", "Consolas", "monospace")


class StudioTheme(gr.themes.Base):
    """The palette and type scale as a Gradio theme."""

    def __init__(self) -> None:
        accent = gr.themes.Color(
            "#edf6f6",
            "#dceceb",
            "#b9dedd",
            "#8fd0d0",
            "#5cc9cb",
            "#2a9aa0",
            "#0b6a70",
            "#095a5f",
            "#0a484d",
            "#0c3b40",
            "#15343a",
            name="studio",
        )
        super().__init__(
            primary_hue=accent,
            secondary_hue=accent,
            neutral_hue=gr.themes.colors.stone,
            text_size=gr.themes.sizes.text_md,
            radius_size=gr.themes.sizes.radius_md,
            font=SANS,
            font_mono=MONO,
        )
        both = {
            "body_background_fill": "ground",
            "body_text_color": "ink",
            "body_text_color_subdued": "ink-soft",
            "background_fill_primary": "surface",
            "background_fill_secondary": "sunken",
            "block_background_fill": "surface",
            "block_border_color": "line",
            "block_label_background_fill": "surface",
            "block_label_text_color": "ink-soft",
            "block_title_text_color": "ink",
            "block_info_text_color": "ink-soft",
            "border_color_primary": "line",
            "border_color_accent": "accent",
            "color_accent_soft": "accent-soft",
            "panel_background_fill": "sunken",
            "input_background_fill": "surface",
            "input_border_color": "line",
            "input_border_color_focus": "accent",
            "input_placeholder_color": "ink-soft",
            "slider_color": "accent",
            "checkbox_background_color": "surface",
            "checkbox_background_color_selected": "accent",
            "checkbox_border_color": "ink-soft",
            "checkbox_border_color_selected": "accent",
            "checkbox_label_background_fill": "surface",
            "checkbox_label_background_fill_hover": "accent-soft",
            "checkbox_label_background_fill_selected": "accent-soft",
            "checkbox_label_text_color": "ink",
            "checkbox_label_text_color_selected": "ink",
            "button_primary_background_fill": "accent",
            "button_primary_background_fill_hover": "accent",
            "button_primary_text_color": "on-accent",
            "button_secondary_background_fill": "surface",
            "button_secondary_background_fill_hover": "accent-soft",
            "button_secondary_border_color": "line",
            "button_secondary_text_color": "ink",
            "link_text_color": "accent",
            "link_text_color_active": "accent",
            "link_text_color_hover": "accent",
            "link_text_color_visited": "accent",
            "loader_color": "accent",
        }
        values: dict[str, str] = {}
        for name, color in both.items():
            values[name], values[f"{name}_dark"] = PALETTE[color]
        self.set(
            **values,
            block_shadow="none",
            block_shadow_dark="none",
            block_label_shadow="none",
            block_border_width="1px",
            block_radius="10px",
            container_radius="10px",
            button_large_radius="8px",
            button_small_radius="8px",
            input_radius="8px",
            input_border_width="1px",
            input_shadow="none",
            input_shadow_focus="0 0 0 3px color-mix(in srgb, var(--rv-accent) 25%, transparent)",
            button_primary_shadow="none",
            button_secondary_shadow="none",
            checkbox_label_shadow="none",
            block_title_text_weight="600",
            block_label_text_weight="600",
            block_label_text_size="12px",
            block_title_text_size="13px",
            layout_gap="20px",
            form_gap_width="0px",
        )


def background_css() -> str:
    """Return the CSS of the page's background, which Gradio's ``css`` does not reach."""
    light, dark = PALETTE["ground"]
    return f"body{{background:{light}!important}}body.dark{{background:{dark}!important}}"


def head() -> str:
    """Return what the page's head contains: the background, and the scripts of the whole page."""
    charts = json.dumps(
        {
            "darkPairs": dark_pairs(),
            "methodInks": {name: METHODS[key] for name, key in LAB_METHODS.items()},
            "plotlyAddresses": ROUTES,
        }
    )
    return (
        f"<style>{background_css()}</style><script>window.regvqCharts = {charts};\n"
        f"{static_text('shared/regvq.js')}\n{static_text('shared/answers.js')}</script>"
    )


def stylesheet() -> str:
    """Return the whole CSS: the palette as variables, app/static/shared, then each component's."""
    light = "".join(f"--rv-{name}:{pair[0]};" for name, pair in PALETTE.items())
    dark = "".join(f"--rv-{name}:{pair[1]};" for name, pair in PALETTE.items())
    shared = [f"shared/{name}.css" for name in ("page", "controls", "panels")]
    own = sorted(file.relative_to(STATIC).as_posix() for file in STATIC.glob("*/*.css"))
    text = "\n".join(static_text(name) for name in dict.fromkeys([*shared, *own]))
    return f":root{{{light}--rv-serif:{SERIF};}}\n.dark{{{dark}}}\n{text}"

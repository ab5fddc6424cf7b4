"""The shell: header, checkpoint, tabs; how the app is launched, and what is ready beforehand."""

from __future__ import annotations

import json
import logging
import threading
import time
from html import escape
from typing import Any

import gradio as gr

from .access import OnlyOurFiles, visitors
from .services import checkpoints, source_notice
from .services import links as share
from .services.idle import Attended
from .tabs import about, code_map, codebook, compare, generate, lab, mask_ratio, reconstruct
from .ui.errors import Refused, in_a_sentence
from .ui.theme import STATIC, StudioTheme, asset, ground, stylesheet

log = logging.getLogger("regvq.app")

MARK = asset("mark.svg")
DELETE = (3600, 3600)
"""Seconds between two looks for files to delete, and their age: no upload outlives both."""
AGAIN = 600.0
"""Seconds until what could not be fetched is asked for again."""
WAITING = 64
"""Calls that may wait for their turn; whoever comes then is told that the queue is full."""
NO_CHECKPOINT = "There is no checkpoint yet. Train one: python train/run.py photos-regvq"


# A tab that the server selects is shown, but told nothing and so stays empty: it has to be clicked.
OPEN_TAB = f"""() => {{
  const title = ({json.dumps(share.TABS)})[new URL(window.location).searchParams.get("tab")];
  const tabs = [...document.querySelectorAll(".tab-container[role=tablist] button")];
  const tab = tabs.find((button) => button.innerText.trim() === title);
  if (tab) tab.click();
}}"""


def sentence(name: str | None) -> str:
    """One sentence that says what one is looking at, true of the checkpoint ``name``."""
    try:
        config = checkpoints.bundle(name).config["tokenizer"]
        codes = int(config["quantizer"]["size"])
        # As the network's downsampling, without importing torch for a sentence; only one of the two
        # networks has a stem.
        network = config["network"]
        f = int(network.get("stem", 1)) * 2 ** (len(network["widths"]) - 1)
    except (Refused, KeyError, TypeError, ValueError):
        return NO_CHECKPOINT
    return (
        f"A picture, rewritten with {codes:,} learned codes, one for every {f} × {f} pixels: "
        "see what survives, and what each code stands for."
    )


def header(name: str | None) -> str:
    """Mark, name and sentence."""
    return (
        f'<div class="rv-brand">{MARK}<div><h1>RegVQ <em>Studio</em></h1>'
        f'<p id="rv-sentence">{escape(sentence(name))}</p></div></div>'
    )


@in_a_sentence
def welcome(query: Any = "", checkpoint: Any = None) -> tuple:
    """When a page opens: the checkpoints and examples there are now, what the link picks, a notice,
    and whether to ask for another one soon."""
    from .services.examples import thumbnails

    picks = share.read(query)
    if picks.ignored:  # one note for all: several would lie folded under the first
        words = escape(" ".join(picks.ignored), quote=False)
        gr.Warning(words, title="Part of the link cannot be used", duration=20)

    def picked(value: Any) -> Any:
        return gr.skip() if value is None else value

    known = offered(checkpoint)
    if picks.checkpoint is not None:
        known = gr.update(choices=checkpoints.names(), value=picks.checkpoint)
    return (
        known,
        list(thumbnails()),
        share.example_path(picks.example),
        share.TABS[picks.tab or "reconstruct"],
        picked(picks.code),
        picked(picks.ratio),
        picked(picks.seed),
        picked(picks.prior),
        picked(picks.prompt),
        picked(picks.prompt_seed),
        *said(),
    )


def offered(checkpoint: Any) -> Any:
    """The checkpoints there are now; one of them is chosen where none was."""
    names = checkpoints.names()
    if checkpoint in names or not names:
        return gr.update(choices=names)
    return gr.update(choices=names, value=names[0])


def said() -> tuple[Any, Any]:
    """What there is to say of the owner's further checkpoints, and whether to ask again."""
    words, waiting = source_notice.further()
    return gr.update(value=words, visible=bool(words)), gr.update(active=waiting)


def asked_again(checkpoint: Any) -> tuple:
    """While checkpoints are fetched: those there are by now, and the notice."""
    return (offered(checkpoint), *said())


@in_a_sentence
def copy_link(here: Any, checkpoint: Any, image: Any, *rest: Any) -> dict[str, Any]:
    """The link to what is picked, for the page to copy; without the visitor's own picture."""
    tab = next((name for name, title in share.TABS.items() if title == here), None)
    example = share.example_of(image)
    code, ratio, seed, prior, prompt, prompt_seed = rest
    painting = tab == "generate"  # elsewhere a prompt that was typed is nobody's business
    query = share.link(
        share.Picks(
            tab, checkpoint, example, code, ratio, seed,
            *((prior, prompt, prompt_seed) if painting else ()),
        )
    )  # fmt: skip
    return {"query": query, "own": bool(image) and example is None, "turn": time.time_ns()}


def which_tab(event: gr.SelectData) -> str:
    """The name of the tab that was opened."""
    return str(event.value)


def build_app() -> gr.Blocks:
    """The explorer. Nothing is loaded before a visitor or ``warm_up`` asks for it."""
    names = checkpoints.names()
    default = names[0] if names else None
    with gr.Blocks(
        title="RegVQ Studio", analytics_enabled=False, delete_cache=DELETE, fill_width=True
    ) as app:
        with gr.Row(elem_classes="rv-header", equal_height=False):
            top = gr.HTML(header(default), elem_id="header", apply_default_css=False)
            checkpoint = gr.Dropdown(
                names,
                value=default,
                label="Checkpoint",
                elem_id="checkpoint",
                scale=0,
                min_width=210,
                interactive=True,
            )
            links = gr.HTML(
                value={},
                html_template=asset("share.html"),
                js_on_load=asset("share.js"),
                elem_id="share",
                apply_default_css=False,
                scale=0,
                min_width=44,
            )
            gr.HTML(
                html_template=asset("toggle.html"),
                js_on_load=asset("toggle.js"),
                elem_id="toggle",
                apply_default_css=False,
                scale=0,
                min_width=44,
            )
        told = gr.HTML("", visible=False, elem_id="notice", apply_default_css=False)
        soon = gr.Timer(3, active=False)
        code = gr.State(None)  # the code that is picked stays picked, in whatever tab
        here = gr.State(reconstruct.TAB)  # a tab that is not open need not follow every change
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(reconstruct.TAB, id="reconstruct") as tab:
                shared = reconstruct.build(tab, checkpoint, default or "", code, here)
            linked = (checkpoint, default or "", shared.picture, code, here)
            with gr.Tab(codebook.TAB, id="codebook") as tab:
                codebook.build(tab, *linked)
            with gr.Tab(code_map.TAB, id="codemap") as tab:
                code_map.build(tab, *linked)
            with gr.Tab(mask_ratio.TAB, id="masks") as tab:
                mask_ratio.build(tab, *linked, shared.chosen)
            with gr.Tab("Generate", id="generate") as tab:
                painted = generate.build(tab, shared.picture)
            with gr.Tab("Compare", id="compare") as tab:
                compare.build(tab, checkpoint, shared.picture)
            with gr.Tab(lab.TAB, id="lab") as tab:
                lab.build(tab, shared.picture)
            with gr.Tab("About", id="about") as tab:
                about.build(tab, checkpoint)
        quiet = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
        tabs.select(which_tab, None, here, **quiet)
        picks = [code, shared.mask_ratio, shared.seed, *painted]
        address = gr.Textbox(visible=False)
        app.load(
            welcome,
            [address, checkpoint],
            [checkpoint, shared.examples, shared.picture, here, *picks, told, soon],
            js="(_, checkpoint) => [window.location.search, checkpoint]",
            api_visibility="private",
            show_progress="hidden",
        ).then(None, None, None, js=OPEN_TAB)
        links.link(
            copy_link,
            [here, checkpoint, shared.picture, *picks],
            links,
            trigger_mode="multiple",
            **quiet,
        )
        soon.tick(asked_again, checkpoint, [checkpoint, told, soon], **quiet)
        checkpoint.change(header, checkpoint, top, **quiet)
    return app.queue(max_size=WAITING)


def launch_options() -> dict[str, Any]:
    """What ``Blocks.launch`` is told, wherever the app runs. Raises app.access.SettingError for a
    ``REGVQ_AUTH`` that cannot be used."""
    from starlette.middleware import Middleware

    return {
        "auth": visitors(),
        "app_kwargs": {"middleware": [Middleware(Attended), Middleware(OnlyOurFiles)]},
        "run_history": False,
        "theme": StudioTheme(),
        "css": stylesheet(),
        "head": f"<style>{ground()}</style><script>{asset('head.js')}</script>",
        "favicon_path": str(STATIC / "mark.svg"),
        "max_file_size": "20mb",
        "show_error": False,
        "share": False,
        "ssr_mode": False,
        "footer_links": [],
        "enable_monitoring": False,
    }


def warm_up() -> None:
    """Load the first checkpoint and do its first picture, so that the first visitor waits less;
    then what the first prior reads words with, and the owner's further checkpoints."""
    try:
        from .services import priors
        from .services.code_stats import atlas
        from .services.examples import examples
        from .tabs import generate_handlers

        name = checkpoints.names()[0]
        reconstruct.run(examples()[0].path, name)
        with checkpoints.LOCK:
            atlas(checkpoints.model(name))
        if words := priors.names("text"):
            generate_handlers.meanwhile(priors.painter(words[0], "text"))
    except Exception:
        # Whatever is wrong will be said to the visitor who asks for it; the page must come up.
        log.exception("The warm-up did not finish")
    fetch_further()


def fetch_further() -> None:
    """Fetch the owner's checkpoints from the Hub; what failed may be there later."""
    from regvq.bundles.sources import fetch_all
    from regvq.importing.arrival import import_on_arrival

    while fetch_all(again=True, convert=import_on_arrival):
        time.sleep(AGAIN)


def launch(host: str = "127.0.0.1", port: int | None = None) -> None:
    """Serve the explorer on ``host`` and ``port`` (None: the first free one from 7860). Raises
    app.access.SettingError for settings that cannot be used."""
    from regvq.malloc import share_freed_memory

    share_freed_memory()
    options = launch_options()
    app = build_app()
    app.launch(server_name=host, server_port=port, prevent_thread_lock=True, **options)
    # Only now: importing torch before the page is up would keep the page waiting.
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    app.block_thread()

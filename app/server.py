"""The server: its command line, how the app is launched, and what is prepared in the background.

Nothing here imports Gradio or torch at module level, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from regvq.extras import missing_extra
from regvq.threads import wait_passively

from .access import OnlyOurFiles, admission
from .guard.settings import SettingError

log = logging.getLogger("regvq.app")

RETRY = 600.0
"""Seconds until a checkpoint that could not be fetched is requested again."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the explorer as the command line asks. Exits with code 2 for an unusable setting."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
    wait_passively()  # read when torch is imported
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), "GRADIO_SERVER_PORT"
    parser = argparse.ArgumentParser(description="Open RegVQ Studio's explorer in a browser.")
    parser.add_argument("--host", default=host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        default=int(os.environ.get(port, 0)) or None,
        help=f"port (default: ${port}, otherwise the first free one from 7860)",
    )
    flags = parser.parse_args(arguments)
    if problem := missing_extra("the explorer", "app", "gradio"):
        parser.exit(2, f"error: {problem}\n")
    try:
        launch(flags.host, flags.port)
    except SettingError as error:
        parser.exit(2, f"error: {error}\n")


def launch_options() -> dict[str, Any]:
    """Return the arguments of ``Blocks.launch``. Raises SettingError for an unusable setting."""
    from starlette.middleware import Middleware

    from .guard.compression import Compress
    from .guard.failures import Sentences, handlers
    from .guard.gate import Gate
    from .guard.headers import SafeHeaders, frame_ancestors
    from .guard.logins import LoginBrake
    from .guard.settings import limits
    from .services.idle import CountRequests
    from .ui.component import STATIC
    from .ui.plotly_file import PlotlyFile
    from .ui.theme import StudioTheme, head, stylesheet

    found = limits()
    middleware = [
        Middleware(CountRequests),
        Middleware(Compress),
        Middleware(SafeHeaders, frames=frame_ancestors()),
        Middleware(PlotlyFile),
        Middleware(Sentences),
        Middleware(LoginBrake, proxies=found.proxies),
        Middleware(OnlyOurFiles),
        Middleware(Gate, limits=found),
    ]
    return {
        "auth": admission(),
        "app_kwargs": {
            "middleware": middleware,
            "exception_handlers": handlers(),
            "openapi_url": None,  # FastAPI's list of all routes; clients have Gradio's of the API
        },
        "run_history": False,
        "theme": StudioTheme(),
        "css": stylesheet(),
        "head": head(),
        "favicon_path": str(STATIC / "shared" / "mark.svg"),
        "max_file_size": found.upload,
        # Of the handlers alone: the lines run 30 at once, and 24 twice run without a line. Whatever
        # they do, pages are served by threads of their own.
        "max_threads": 80,
        "state_session_capacity": 1000,  # the oldest ones are forgotten
        "show_error": False,
        "share": False,
        "ssr_mode": False,
        "mcp_server": offers_tools(),
        "footer_links": [],
        "enable_monitoring": False,
    }


def offers_tools() -> bool:
    """Return True if the API is offered as tools of the Model Context Protocol: with REGVQ_MCP=1,
    if Gradio's extra for it is installed. Otherwise one line in the log says what is missing."""
    if os.environ.get("REGVQ_MCP", "").strip().lower() not in ("1", "true", "yes"):
        return False
    if find_spec("mcp") is None:
        log.warning(
            "REGVQ_MCP=1 has no effect, because the package mcp is not installed: "
            "pip install 'gradio[mcp]'"
        )
        return False
    return True


def launch(host: str = "127.0.0.1", port: int | None = None) -> None:
    """Serve the explorer on ``host`` and ``port`` (None: the first free one from 7860) until the
    process ends. Raises SettingError for unusable settings."""
    from .guard.settings import limits
    from .services.libraries import LIBRARIES
    from .services.uploads_folder import use_own_folder, watch

    folder = use_own_folder()
    LIBRARIES.begin()  # before Gradio is imported: it takes about as long

    from regvq.malloc import share_freed_memory

    from .services.memory import keep_what_is_loaded, return_memory
    from .shell import build_app

    share_freed_memory()
    options = launch_options()
    app = build_app()
    keep_what_is_loaded()
    app.launch(server_name=host, server_port=port, prevent_thread_lock=True, **options)
    # Not earlier: importing torch would delay the page.
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    threading.Thread(target=return_memory, name="memory", daemon=True).start()
    if folder is not None:  # an owner's folder may hold the files of others
        kept = (folder, limits().files)
        threading.Thread(target=watch, args=kept, name="files", daemon=True).start()
    app.block_thread()


def warm_up() -> None:
    """Load the first checkpoint and reconstruct the first picture, so that the first visitor waits
    less; then load the first text-conditioned prior and the owner's further checkpoints."""
    from .services import checkpoints, priors, reconstruction, worked_example
    from .services.code_stats import atlas
    from .services.examples import examples
    from .services.idle import run_when_idle
    from .services.libraries import LIBRARIES
    from .services.memory import keep_what_is_loaded
    from .services.model_lock import LOCK

    LIBRARIES.wait()
    try:
        import plotly.graph_objects  # noqa: F401 (it takes a second)

        if known := checkpoints.names():
            request = reconstruction.parse_request(examples()[0].path, known[0])
            reconstruction.run(request)
            with LOCK:
                _ = atlas(request.handle).counts
        if names := priors.names("text"):
            first = priors.open_prior(names[0], "text")
            priors.preload_prior(first)
            run_when_idle(lambda: worked_example.prepare(first), "example")
        if names := priors.names("label"):
            of_classes = priors.open_prior(names[0], "label")
            run_when_idle(lambda: worked_example.prepare(of_classes), "example of a class")
    except Exception:
        # The visitor who needs it gets the message; the page must come up.
        log.exception("The warm-up did not finish")
    keep_what_is_loaded()
    fetch_further()


def fetch_further() -> None:
    """Fetch the owner's checkpoints from the Hub; retry those that failed."""
    from regvq.bundles.sources import fetch_all
    from regvq.importing.arrival import import_on_arrival

    while fetch_all(again=True, convert=import_on_arrival):
        time.sleep(RETRY)


if __name__ == "__main__":
    main()

"""The scripts of all charts: plotly.js, served by this app and loaded by the first chart.

The page's charts use ``scatter``, and in space ``scatter3d``. "plane" is npm's
plotly.js-basic-dist-min and "space", which only a map in space loads, its plotly.js-gl3d-dist-min,
compressed: 1.2 and 1.75 MB, where the bundle with all traces has 5.2. Neither evaluates strings, so
that a content security policy may forbid it.

A page stands still while it compiles what a script calls first: "plane" took 0.08 to 0.16 s of it,
"space" 0.33 to 0.62 s, on two busy cores. HINT, which the served files begin with, lets Chromium
compile all functions beside the page while the file arrives: less than 0.05 s and about 0.1 s
remain. Other browsers take it for a comment.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from typing import TYPE_CHECKING

from ..guard.gate import in_thread
from .component import STATIC

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

VERSION = "4.1.1"
FILES = {kind: STATIC / "plot" / f"plotly-{kind}.min.js.gz" for kind in ("plane", "space")}
HINT = b"//# allFunctionsCalledOnLoad\n"
ROUTES = {kind: f"/regvq/plotly-{kind}-{VERSION}.min.js" for kind in FILES}


class PlotlyFile:
    """ASGI middleware that answers requests for ROUTES."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        kind = next((kind for kind, route in ROUTES.items() if path.endswith(route)), None)
        if kind is None:
            await self._app(scope, receive, send)
            return
        accepted = any(
            b"gzip" in value for name, value in scope["headers"] if name == b"accept-encoding"
        )
        body = await in_thread(_compressed, kind)
        body = body if accepted else gzip.decompress(body)
        headers = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"public, max-age=31536000, immutable"),
            (b"vary", b"Accept-Encoding"),
        ]
        if accepted:
            headers.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=len(FILES))
def _compressed(kind: str) -> bytes:
    return gzip.compress(HINT + gzip.decompress(FILES[kind].read_bytes()), mtime=0)

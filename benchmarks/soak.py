"""Memory of the server over many visits.

``python benchmarks/soak.py`` starts the app (``--app``: that of another source tree) and lets
``--sessions`` visitors come, one after another: each opens the page, reconstructs an example with a
seed of its own, looks at a code, and leaves. It prints the server's resident memory along the way.
A first part of the visits (``--warm``) fills the caches, whose size is limited, while the app
prepares in quiet moments what it shows first; what counts is the growth after it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from app_load import ROOT, resident, start_app

WARM = 160
"""Visits that fill the caches of the shipped checkpoints."""


class Page:
    """A page of the explorer, as the server sees it; it finds listeners by components' names."""

    def __init__(self, client: Any, address: str) -> None:
        self.client, self.address = client, address.rstrip("/")
        self.config = client.get(f"{self.address}/config").raise_for_status().json()
        self._names = {
            part["id"]: part["props"].get("elem_id") or part["type"]
            for part in self.config["components"]
        }
        values = {part["id"]: part["props"].get("value") for part in self.config["components"]}
        self.checkpoint = next(
            values[number] for number, name in self._names.items() if name == "checkpoint"
        )

    def listener(self, source: str, event: str, filled: str) -> dict[str, Any]:
        """Return the listener of an event of the component ``source`` that fills in ``filled``."""
        for one in self.config["dependencies"]:
            targets = [(self._names.get(number), name) for number, name in one["targets"]]
            wanted = (source or None, event)
            if wanted in targets and filled in map(self._names.get, one["outputs"]):
                return one
        raise SystemExit(f"error: the app has no listener of {event} that fills in {filled}")

    def call(
        self, session: str, one: dict[str, Any], data: list[Any], event: Any = None
    ) -> list[Any]:
        """Send a call as a page does and return the outputs of its last answer."""
        body = {
            "data": data,
            "fn_index": one["id"],
            "session_hash": session,
            "trigger_id": one["targets"][0][0],
            "event_data": event,
        }
        sent = self.client.post(f"{self.address}/gradio_api/queue/join", json=body)
        sent.raise_for_status()
        address, outputs = f"{self.address}/gradio_api/queue/data?session_hash={session}", []
        with self.client.stream("GET", address) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise SystemExit(f"error: {message['output']}")
                    outputs = message["output"]["data"]
                if message.get("msg") == "close_stream":
                    return outputs
        return outputs

    def visit(self, number: int) -> None:
        """Open the page, reconstruct a picture, look at a code."""
        session = f"soak{number}"
        opened = self.listener("", "load", "picture")
        outputs = self.call(session, opened, ["", self.checkpoint])
        picture = outputs[[self._names[n] for n in opened["outputs"]].index("picture")]
        shown = self.listener("seed", "input", "stage")
        self.call(session, shown, [picture, self.checkpoint, 0.3, number, None, None])
        picked = self.listener("codebook", "pick", "code")
        inputs = [self.checkpoint, picture, "bundle"]
        self.call(session, picked, inputs, {"index": number % 50})


def main() -> None:
    """Measure as the flags say and print a table."""
    import httpx

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sessions", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--app", type=Path, default=ROOT, help="the source tree whose app is run")
    parser.add_argument("--warm", type=int, default=WARM, help="default: %(default)s")
    flags = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, pid = stack.enter_context(start_app(folder / "app.log", flags.app))
        client = stack.enter_context(httpx.Client(timeout=600))
        page = Page(client, url)
        for number in range(flags.warm):
            page.visit(number)
        start = resident(pid)
        print(f"{start:,.0f} MB after {flags.warm} visits, which fill the caches")
        for number in range(1, flags.sessions + 1):
            page.visit(flags.warm + number)
            if number % max(1, flags.sessions // 10) == 0:
                now = resident(pid)
                print(f"{now:,.0f} MB after {number} more ({now - start:+,.0f} MB)", flush=True)


if __name__ == "__main__":
    # When it is terminated, it also ends the app that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()

"""The explorer as a process of its own, which counts name look-ups and times its event loop.

``python -m tests.public.serving --checkpoints DIR --state FILE`` writes its address and what it has
counted to FILE, twice a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.paths import ROOT
from tests.helpers import local_http as http

TICK = 0.02
LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", None, "")


@dataclass
class Watched:
    """A running explorer."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path
    state: Path
    uploads: Path
    names: list[str] = field(default_factory=list)

    def counted(self) -> dict[str, Any]:
        """Return the longest pause of the event loop in seconds, and the names looked up."""
        time.sleep(1.2)  # it is written twice a second
        return json.loads(self.state.read_text())

    def warm_up(self, *names: str) -> None:
        """Load what the first calls load, and time the event loop anew: an import holds Python's
        lock, and is nobody's attack.

        ``names``: only what these calls load; all of them without one.
        """
        calls = {
            "code_detail": ["tiny-regvq", 1, None, "bundle"],
            "code_map": ["tiny-regvq", "umap", "usage", 2, 15],
            "generate_text": ["a lake", "words", 1, 0, None, None, None, None, None],
            "lab_pictures": [None, ["VQ"], 16, 0, 3, 0.003, 0.1, 0.4, 1, 0.1],
        }
        for name in names or calls:
            address = f"{self.address}gradio_api/run/{name}"
            answer = http.post(address, json={"data": calls[name]}, timeout=300)
            assert answer.status_code == 200, answer.text
        self.state.with_suffix(".anew").touch()
        while self.state.with_suffix(".anew").exists():
            time.sleep(0.1)

    def logged(self) -> str:
        """Return everything that the process has written."""
        return self.log.read_text(errors="replace")

    def memory(self) -> float:
        """Return the resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def watched(
    folder: Path, checkpoints: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Watched]:
    """Run the explorer on the bundles in ``checkpoints`` and yield it."""
    log, state, uploads = folder / "app.log", folder / "state.json", folder / "uploads"
    command = [sys.executable, "-m", "tests.public.serving"]
    command += ["--checkpoints", str(checkpoints), "--state", str(state)]
    env = {
        **os.environ,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(uploads),
        "REGVQ_CACHE": str(folder / "cache"),
        "OMP_WAIT_POLICY": "PASSIVE",
        **(environment or {}),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        for _ in range(600):
            if state.exists():
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        address = json.loads(state.read_text())["address"]
        yield Watched(address, process, log, state, uploads)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


COUNTED: dict[str, Any] = {"address": "", "start": 0.0, "longest": 0.0, "names": []}


class Ticking:
    """ASGI middleware that starts a ticking task on the server's event loop."""

    def __init__(self, app: Any) -> None:
        self._app, self._task = app, None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(_tick())
        await self._app(scope, receive, send)


async def _tick() -> None:
    """Time the pauses of the loop: "start" until it is timed anew, "longest" after 3 seconds."""
    begun = time.monotonic()
    while True:
        before = time.monotonic()
        await asyncio.sleep(TICK)
        late = time.monotonic() - before - TICK
        if not COUNTED.get("anew"):
            COUNTED["start"] = max(COUNTED["start"], late)
        if before - begun > 3:
            COUNTED["longest"] = max(COUNTED["longest"], late)


def _count_names() -> None:
    looked_up = socket.getaddrinfo

    def counting(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in LOCAL:
            COUNTED["names"].append(name)
        return looked_up(host, *rest, **more)

    socket.getaddrinfo = counting


def _report(state: Path) -> None:
    from app.services import memory

    while True:
        beside = state.with_suffix(".new")
        beside.write_text(json.dumps(COUNTED))
        os.replace(beside, state)
        time.sleep(0.5)
        if state.with_suffix(".anew").exists():
            memory.keep_what_is_loaded()  # as after the real server's warm-up
            COUNTED["longest"], COUNTED["anew"] = 0.0, True
            state.with_suffix(".anew").unlink()


def main() -> None:
    """Serve until the process is terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    flags = parser.parse_args()
    os.environ["REGVQ_CHECKPOINTS"] = str(flags.checkpoints)
    _count_names()

    from starlette.middleware import Middleware

    from app import server, shell
    from app.services import scene_counts
    from app.services.libraries import LIBRARIES
    from core.bundles import bundle

    empty = Path(tempfile.mkdtemp(prefix="regvq-none-"))
    bundle.CHECKPOINTS = bundle.RUNS = empty
    scene_counts.SCENES, scene_counts.SCENE_SIZE = 3, 64
    LIBRARIES.begin()
    options = server.launch_options()
    options["app_kwargs"]["middleware"].insert(0, Middleware(Ticking))
    app = shell.build_app()
    _, address, _ = app.launch(
        server_name="127.0.0.1", quiet=True, prevent_thread_lock=True, **options
    )
    COUNTED["address"] = address
    threading.Thread(target=_report, args=[flags.state], daemon=True).start()
    app.block_thread()


if __name__ == "__main__":
    main()

"""The explorer under load: many visitors at once, mixed requests, errors and memory.

``python benchmarks/app_load.py`` starts the app (or uses ``--url``), lets ``--visitors`` send
requests for ``--seconds`` through ``gradio_client``, each one request after another with a pause in
between, and writes a table: requests, errors, time to the answer, the time of it in the queue, and
the server's memory. The answer "the queue is full" is intended and is counted separately; the
visitor then waits for a second.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PROMPTS = ("a lake below snowy mountains at dusk", "a beach by the sea at noon", "snow at night")


@dataclass(frozen=True)
class Visit:
    """The visitors' files: their pictures and a semantic map."""

    pictures: tuple[Path, ...]
    plan: Path


Ask = Callable[[random.Random, Visit], tuple[Any, ...]]


def _picture(rng: random.Random, visit: Visit) -> Any:
    from gradio_client import handle_file

    return handle_file(rng.choice(visit.pictures))


def _plan(visit: Visit) -> Any:
    from gradio_client import handle_file

    return handle_file(visit.plan)


CHECKPOINT: list[str] = []
"""The tokenizers of the app, the default one first; filled in before the visitors come."""

# Each endpoint with its relative frequency and its arguments.
ENDPOINTS: dict[str, tuple[int, Ask]] = {
    "/reconstruct": (8, lambda r, v: (_picture(r, v), CHECKPOINT[0], r.choice((0, 0.5)), 1)),
    "/codebook_usage": (3, lambda r, v: (CHECKPOINT[0], "bundle")),
    "/code_map": (2, lambda r, v: (CHECKPOINT[0], "pca", "usage")),
    "/code_detail": (4, lambda r, v: (CHECKPOINT[0], r.randrange(32))),
    "/edit_tokens": (4, lambda r, v: (_picture(r, v), CHECKPOINT[0], [[0, 0, r.randrange(32)]])),
    "/mask_sweep": (1, lambda r, v: (_picture(r, v), CHECKPOINT[0])),
    "/compare": (2, lambda r, v: (_picture(r, v), CHECKPOINT[:2])),
    "/generate_text": (2, lambda r, v: (r.choice(PROMPTS), None, 1, r.randrange(1000))),
    "/generate_semantic": (1, lambda r, v: (_plan(v), None, 1, r.randrange(1000))),
}


@dataclass
class Tally:
    """The outcome of the requests of one endpoint."""

    seconds: list[float] = field(default_factory=list)
    """From the request to the answer, of each answered request."""
    waited: list[float] = field(default_factory=list)
    """The part of it before the server started."""
    refused: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> None:
    """Measure as the flags say, print the report and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--visitors", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60, help="default: %(default)s")
    parser.add_argument("--pause", type=float, default=1, help="mean seconds between requests")
    parser.add_argument("--url", help="a running app; without it, one is started")
    parser.add_argument("--pid", type=int, help="with --url: the process whose memory is measured")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "app_load.md")
    flags = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, pid = flags.url, flags.pid
        if url is None:
            url, pid = stack.enter_context(start_app(folder / "app.log"))
        visit = make_files(folder)
        left_out = try_endpoints(url, visit)
        report = measure(url, pid, visit, flags, left_out)
    print(report)
    flags.out.write_text(report + "\n", encoding="utf-8")


@contextlib.contextmanager
def start_app(log: Path, root: Path = ROOT) -> Iterator[tuple[str, int]]:
    """Start the app of a source tree, ``python app.py``; yield its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(root / "app.py"), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=subprocess.STDOUT)
        try:
            while True:
                if process.poll() is not None:
                    raise SystemExit(f"error: the app did not start: {log.read_text()[-2000:]}")
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10):
                    break
                time.sleep(0.3)
            yield url, process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def make_files(folder: Path) -> Visit:
    """Write drawn scenes of 256 pixels as JPEG files, and the semantic map of one."""
    import numpy as np
    from PIL import Image

    from core.data import open_dataset
    from core.data.scenes import PALETTE
    from core.images import to_pictures

    drawn = open_dataset("scenes", size=256, seed=1, split="test")
    pictures = []
    for index in range(6):
        pictures.append(folder / f"{index}.jpg")
        to_pictures(drawn[index].image[None])[0].save(pictures[-1], quality=92)
    plan = folder / "plan.png"
    ids = np.asarray(drawn[0].segmentation)
    Image.fromarray(np.asarray(PALETTE, np.uint8)[ids]).save(plan)
    return Visit(tuple(pictures), plan)


def try_endpoints(url: str, visit: Visit) -> list[str]:
    """Call each endpoint once, alone, which also warms up the app.

    Return the endpoints that are left out because the app has no prior or checkpoint for them.
    """
    from gradio_client.exceptions import AppError

    client = connect(url)
    parts = client.config["components"]
    box = next(p for p in parts if p.get("props", {}).get("elem_id") == "checkpoint")
    names = [choice[1] for choice in box["props"]["choices"]]
    first = box["props"]["value"]
    CHECKPOINT[:] = [first, *(name for name in names if name != first)]
    left_out = []
    for name, (_, arguments) in ENDPOINTS.items():
        try:
            client.predict(*arguments(random.Random(0), visit), api_name=name)
        except AppError as error:
            if "no prior for this" not in str(error) and "needs at least" not in str(error):
                raise SystemExit(f"error: {name} fails for a single visitor: {error}") from None
            left_out.append(name)
    client.close()
    return left_out


def connect(url: str) -> Any:
    """Return a client like that of a visitor's program; it waits for a busy server."""
    from gradio_client import Client

    return Client(url, verbose=False, download_files=False, httpx_kwargs={"timeout": 120})


class Crowd:
    """Visitors who start together and send requests until the time is up."""

    def __init__(self, url: str, visit: Visit, pause: float, names: list[str]) -> None:
        self.url, self.visit, self.pause, self.names = url, visit, pause, names
        self.tallies = {name: Tally() for name in names}
        self._lock = threading.Lock()
        self._go, self._end = threading.Event(), 0.0

    def run(self, visitors: int, seconds: float, watch: Callable[[float], None]) -> None:
        """Let them send requests; call ``watch`` every second with the seconds since the start."""
        ready = threading.Barrier(visitors + 1)
        threads = [
            threading.Thread(target=self._visit, args=(seed, ready), daemon=True)
            for seed in range(visitors)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        started = time.monotonic()
        self._end = started + seconds
        watch(0.0)
        self._go.set()
        while any(thread.is_alive() for thread in threads):
            time.sleep(1)
            watch(time.monotonic() - started)

    def _visit(self, seed: int, ready: threading.Barrier) -> None:
        rng = random.Random(seed)
        try:
            client = connect(self.url)
        except Exception as error:
            with self._lock:
                self.tallies[self.names[0]].errors.append(f"no connection: {error}")
            return
        finally:
            ready.wait()
        self._go.wait()
        weights = [ENDPOINTS[name][0] for name in self.names]
        while True:
            time.sleep(rng.expovariate(1 / max(self.pause, 1e-3)))
            if time.monotonic() > self._end:
                break
            (name,) = rng.choices(self.names, weights)
            self._ask(client, name, ENDPOINTS[name][1](rng, self.visit))
        client.close()

    def _ask(self, client: Any, name: str, arguments: tuple[Any, ...]) -> None:
        from gradio_client.utils import QueueError, Status

        waiting = (Status.STARTING, Status.JOINING_QUEUE, Status.IN_QUEUE)
        started, tally = time.monotonic(), self.tallies[name]
        try:
            job = client.submit(*arguments, api_name=name)
            turn = None
            while not job.done():
                if turn is None and job.status().code not in waiting:
                    turn = time.monotonic() - started
                time.sleep(0.05)
            job.result()
        except QueueError:
            with self._lock:
                tally.refused += 1
            time.sleep(1)
            return
        except Exception as error:
            with self._lock:
                tally.errors.append(f"{type(error).__name__}: {error}")
            return
        took = time.monotonic() - started
        with self._lock:
            tally.seconds.append(took)
            tally.waited.append(took if turn is None else turn)


def measure(
    url: str, pid: int | None, visit: Visit, flags: argparse.Namespace, left_out: list[str]
) -> str:
    """Return the report of one run in Markdown."""
    memory: list[tuple[float, float]] = []

    def watch(since: float) -> None:
        if pid is not None:
            memory.append((since, resident(pid)))

    names = [name for name in ENDPOINTS if name not in left_out]
    crowd = Crowd(url, visit, flags.pause, names)
    crowd.run(flags.visitors, flags.seconds, watch)
    lines = [
        f"{flags.visitors} visitors for {flags.seconds:g} s, a pause of {flags.pause:g} s on "
        f"average between their requests; {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {'an app at --url' if flags.url else 'app.py as it is'}.",
        "",
        *table(crowd.tallies),
        "",
        *memory_lines(memory, flags.seconds),
    ]
    if left_out:
        lines += ["", f"Left out, because no checkpoint is available: {', '.join(left_out)}."]
    errors = sorted({error for tally in crowd.tallies.values() for error in tally.errors})
    if errors:
        lines += ["", "Errors:", "", *(f"- {' '.join(error.split())[:300]}" for error in errors)]
    return "\n".join(lines)


def table(tallies: dict[str, Tally]) -> list[str]:
    """Return requests, refusals, errors and times: one row per endpoint, then all together."""
    every = Tally()
    for tally in tallies.values():
        every.seconds += tally.seconds
        every.waited += tally.waited
        every.errors += tally.errors
        every.refused += tally.refused
    rows = [
        "| | requests | answered | queue full | errors | p50 | p95 | waited, p50 | waited, p95 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in {**tallies, "all": every}.items():
        asked = len(one.seconds) + one.refused + len(one.errors)
        times = [quantile(one.seconds, 0.5), quantile(one.seconds, 0.95)]
        times += [quantile(one.waited, 0.5), quantile(one.waited, 0.95)]
        shown = " | ".join("" if value is None else f"{value:.2f} s" for value in times)
        rows.append(
            f"| {name.lstrip('/')} | {asked} | {len(one.seconds)} | {one.refused} "
            f"| {len(one.errors)} | {shown} |"
        )
    return rows


def quantile(values: list[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of the values do not exceed, or None."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def memory_lines(memory: list[tuple[float, float]], seconds: float) -> list[str]:
    """Describe the server's resident memory: at the start, after 10 s, at the end, its slope."""
    if not memory:
        return ["Memory: not measured (name the process with `--pid`)."]
    start, end = memory[0][1], memory[-1][1]
    early = next((value for since, value in memory if since >= min(10, seconds / 2)), end)
    late = [(since, value) for since, value in memory if since >= seconds / 2]
    words = [
        f"Memory of the server: {start:,.0f} MB at the start, {early:,.0f} MB after "
        f"{min(10, seconds / 2):g} s, {end:,.0f} MB at the end ({end / early - 1:+.1%} since then)."
    ]
    if len(late) > 2:
        times, values = zip(*late, strict=True)
        slope = statistics.linear_regression(times, values).slope * 60
        words.append(f"Its slope over the second half: {slope:+.1f} MB per minute.")
    return words


def resident(pid: int) -> float:
    """Return the resident memory of a process in megabytes (Linux)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    # When it is terminated, it also ends the app that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()

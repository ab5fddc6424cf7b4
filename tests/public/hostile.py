"""Hostile requests, drawn from a seed over every endpoint of an explorer's schema.

``python -m tests.public.hostile --requests 5000`` tries many; ``make fuzz`` calls it.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import string
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.helpers import local_http as http
from tests.public.serving import Watched, watched

VISITORS = 6
"""Requests that are sent at the same time."""
PATIENCE = 120.0
"""Seconds until an answer counts as missing; a busy machine needs some."""
SLOWEST_LOOP = 8.0
"""Seconds that the event loop may stand still: 0.2 s is usual, more on a busy machine."""

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, 2**63, 10**40, float("nan"), float("inf"),
    "", "0", "nan", "tiny-regvq", "tiny-vq", "words", "both", "../../etc/passwd", "\x00",
    "<img src=x onerror=alert(1)>", "${7*7}", "'; drop table codes; --", "%s%n", "\u202e\ufeff",
    "x" * 70_000, [], {}, [[]], [None], [[0, 0, 0]], [[1e9, -1, "a"]], {"a": {"b": [1]}},
    ["tiny-regvq", "tiny-vq"], {"path": "/etc/passwd"}, {"path": None}, {"url": "//x"},
    {"path": "app.py", "meta": {"_type": "gradio.FileData"}}, {"__type__": "update", "value": 1},
    {"background": None, "layers": [None], "composite": None}, [["a", 1], ["b"]], list(range(500)),
)  # fmt: skip

EVENTS: tuple[Any, ...] = (
    None, {}, [], 1, "index", {"index": None}, {"index": -1}, {"index": 10**9}, {"index": "a"},
    {"index": [1, 2]}, {"index": {"a": 1}}, {"row": 1}, {"row": -1, "column": 10**9}, {"code": "x"},
    {"index": 0, "value": "Reconstruct", "selected": True}, {"start": 0, "count": 10**9},
    {"codes": list(range(300))}, {"codes": "all"}, {"ids": [[1e308]]}, {"value": {"index": [0]}},
)  # fmt: skip

PATHS = (
    "/nothing", "/%00", "/%0a%0d", "/..%2f..%2fetc%2fpasswd", "/gradio_api/file=/etc/passwd",
    "/gradio_api/file=http://127.0.0.1:1/x", "/gradio_api/file/app.py", "/gradio_api/proxy=http://x",
    "/gradio_api/call/reconstruct/nothing", "/gradio_api/call/x/y", "/gradio_api/call/v2/x/y",
    "/gradio_api/queue/data", "/gradio_api/queue/data?session_hash=nothing",
    "/gradio_api/queue/data?session_hash=" + "x" * 3000, "/gradio_api/queue/status",
    "/gradio_api/upload_progress?upload_id=a/b", "/gradio_api/component_server",
    "/gradio_api/stream/a/b/c/playlist.m3u8", "/gradio_api/custom_component/x/client/component/y",
    "/monitoring", "/monitoring/summary", "/monitoring/key", "/gradio_api/deep_link?session_hash=a",
    "/gradio_api/runs", "/gradio_api/openapi.json", "/gradio_api/info", "/config", "/login",
    "/logout", "/static/../../x", "/assets/nothing.js", "/svelte/x", "/pwa_icon/99999999999",
    "/manifest.json", "/robots.txt", "/theme.css", "/favicon.ico", "/gradio_api/app_id",
    "/?tab=" + "x" * 7000, "/?tab=" + "x" * 50_000, "/?deep_link=../../x",
    "/?__theme=dark&view=api",
    "/?checkpoint=%00&code=1e999&ratio=nan&seed=-1", "/" + "a/" * 2000, "/gradio_api/heartbeat/%20",
    "/gradio_api/token", "/gradio_api/user", "/gradio_api/mcp/", "/gradio_api/mcp/sse",
    "/gradio_api/vibe-code", "/gradio_api/dev/reload", "/gradio_api/run-history/buckets",
)  # fmt: skip


@dataclass
class Hostile:
    """A request: its kind, and the arguments of ``httpx.Client.request``."""

    kind: str
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Answer:
    """An answer: its status, its text, and the complaint about it ("" if there is none)."""

    request: Hostile
    status: int
    text: str
    complaint: str = ""
    seconds: float = 0.0


def draw(schema: dict[str, Any], config: dict[str, Any], far: str, seed: int) -> Iterator[Hostile]:
    """Yield requests without end. ``far`` is an address that no request may reach."""
    rng = random.Random(seed)
    endpoints = sorted(schema["named_endpoints"])
    listeners = config["dependencies"]
    counter = 0
    while True:
        counter += 1
        name = endpoints[counter % len(endpoints)]
        inputs = schema["named_endpoints"][name]["parameters"]
        kind = rng.choices(
            ("call", "file", "listener", "raw", "get", "upload", "route"),
            (26, 14, 26, 10, 12, 6, 6),
        )[0]
        if kind == "call":
            yield _call(rng, kind, name, [_value(rng, one) for one in inputs], inputs)
        elif kind == "file":
            host = rng.choice((far, f"http://name-{counter}.example.org/x.png"))
            values = [_value(rng, one) for one in inputs]
            values[rng.randrange(len(values))] = _buried(rng, _file(rng, host))
            yield _call(rng, kind, name, values, inputs)
        elif kind == "listener":
            yield _listener(rng, listeners, far)
        elif kind == "raw":
            yield _raw(rng, name)
        elif kind == "get":
            yield Hostile(kind, rng.choice(("GET", "GET", "GET", "HEAD")), rng.choice(PATHS))
        elif kind == "upload":
            yield _upload(rng)
        else:
            yield _route(rng)


def _value(rng: random.Random, parameter: dict[str, Any]) -> Any:
    """Return a value for a parameter: its own default, one of another type, or a nasty one."""
    if rng.random() < 0.35 and parameter.get("parameter_has_default"):
        return parameter["parameter_default"]
    return rng.choice(NASTY)


def _call(
    rng: random.Random, kind: str, name: str, values: list[Any], inputs: list[dict[str, Any]]
) -> Hostile:
    route = rng.choice(("call", "call", "call", "run", "api", "call/v2"))
    if route == "call/v2":
        body: Any = {one["parameter_name"]: v for one, v in zip(inputs, values, strict=True)}
    else:
        if rng.random() < 0.1:
            values = values[: rng.randrange(len(values) + 1)] + [None] * rng.choice((0, 0, 3))
        body = {"data": values}
    return Hostile(kind, "POST", f"/gradio_api/{route}{name}", {"content": _json(body)})


def _file(rng: random.Random, address: str) -> dict[str, Any]:
    path = rng.choice((address, address, address.upper(), "file:///etc/passwd", "//" + address[7:]))
    file = {"path": path, "url": address, "orig_name": "a.png", "size": 1, "mime_type": "image/png"}
    file["meta"] = {"_type": "gradio.FileData"}
    if rng.random() < 0.2:
        file["is_stream"] = True
    return file


def _buried(rng: random.Random, value: Any) -> Any:
    for _ in range(rng.choice((0, 0, 1, 2, 5, 20))):
        value = [value] if rng.random() < 0.5 else {rng.choice(("a", "value", "data")): value}
    return value


def _listener(rng: random.Random, listeners: list[dict[str, Any]], far: str) -> Hostile:
    one = rng.choice(listeners)
    number = one["id"] if rng.random() < 0.9 else rng.choice((-1, 10**9, 1.5, "0", None, True, []))
    values = [rng.choice(NASTY) for _ in one["inputs"]]
    if values and rng.random() < 0.15:
        values[rng.randrange(len(values))] = _buried(rng, _file(rng, far))
    targets = [target[0] for target in one["targets"]] or [None]
    body = {
        "data": values,
        "fn_index": number,
        "session_hash": rng.choice((_word(rng), _word(rng), _word(rng), None, 5, "a/b")),
        "trigger_id": rng.choice((targets[0], targets[0], targets[0], None, -1, "x")),
        "event_data": rng.choice(EVENTS),
    }
    if rng.random() < 0.1:
        body[rng.choice(("batched", "simple_format", "event_id"))] = rng.choice((True, "x", 5))
    route = rng.choice(("queue/join", "queue/join", "run/predict"))
    return Hostile("listener", "POST", f"/gradio_api/{route}", {"content": _json(body)})


def _raw(rng: random.Random, name: str) -> Hostile:
    bodies: tuple[Any, ...] = (
        b"", b"null", b"[]", b'"text"', b"{", b'{"data":', b"\xff\xfe{\x00}\x00", b"\x00" * 50,
        b'{"data": 5}', b'{"data": {}}', b'{"data": ["\\ud800"]}',
        b'{"data": [' + b"9" * 9000 + b"]}",
        b"[" * 100_000, b'{"a":' * 5000, b'{"data": [' + b"[]," * 200_000 + b"0]}",
        b'{"data": ["' + b"x" * 2_000_000 + b'"]}', b'{"data": ["' + b"x" * 900_000 + b'"]}',
        b'{"data": [1], "data": [2]}', b'{"data": [1e400, -0.0, NaN, Infinity]}',
        b'{"data": [' + b"1," * 90_000 + b"0]}",
    )  # fmt: skip
    content = rng.choice(bodies)
    if rng.random() < 0.2:
        content = _parts(content)
    types = ("application/json", "application/json", "text/plain", "multipart/form-data", "")
    path = rng.choice(
        (f"/gradio_api/call{name}", "/gradio_api/queue/join", "/gradio_api/run/predict")
    )
    headers = {"content-type": rng.choice(types)}
    return Hostile("raw", "POST", path, {"content": content, "headers": headers})


def _parts(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]


def _upload(rng: random.Random) -> Hostile:
    names = (
        "a.png",
        "../../x.png",
        "a" * 300 + ".jpg",
        "\x00.png",
        "",
        "x.svg",
        "x.html",
        "ü☃.gif",
    )
    data = rng.choice((b"", b"GIF89a", _png(), b"\xff\xd8\xff" + b"\x00" * 500, b"<svg/>" * 9))
    if rng.random() < 0.3:
        headers = {
            "content-type": rng.choice(("multipart/form-data", "multipart/form-data; boundary=x"))
        }
        options: dict[str, Any] = {"content": b"--x\r\n\r\n" + data, "headers": headers}
    else:
        options = {
            "files": {rng.choice(("files", "file", "")): (rng.choice(names), data, "image/png")}
        }
    return Hostile("upload", "POST", "/gradio_api/upload", options)


def _route(rng: random.Random) -> Hostile:
    path = rng.choice(
        ("/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/component_server", "/login",
         "/gradio_api/process_recording", "/gradio_api/stream/x", "/gradio_api/mcp/",
         "/gradio_api/call/show_token", "/gradio_api/run/open_page", "/gradio_api/call/v2/header",
         "/gradio_api/vibe-edit", "/gradio_api/nothing", "/")
    )  # fmt: skip
    body = rng.choice(
        ({}, [], None, {"event_id": "x", "session_hash": "y", "fn_index": 1}, {"data": []},
         {"component_id": -1, "fn_name": "x", "session_hash": "y", "data": {}})
    )  # fmt: skip
    method = rng.choice(("POST", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
    headers = {"content-type": "application/json"}
    if rng.random() < 0.2:
        headers[rng.choice(("x-forwarded-host", "x-forwarded-proto"))] = rng.choice(
            ("a b", "%%%", "é")
        )
    headers = {name: value.encode("utf-8") for name, value in headers.items()}
    return Hostile("route", method, path, {"content": _json(body), "headers": headers})


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "PNG")
    return buffer.getvalue()


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=8))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


# ---------------------------------------------------------------- sending


def send(client: httpx.Client, request: Hostile) -> Answer:
    """Send a request, wait for the end of the call that it starts, and judge the answer."""
    begun = time.monotonic()
    options = dict(request.options)
    headers = {"content-type": "application/json", **options.pop("headers", {})}
    if "files" in options:
        headers.pop("content-type")
    try:
        with client.stream(request.method, request.path, headers=headers, **options) as stream:
            status, text = stream.status_code, _read(stream)
        answer = _judge(request, status, text)
        begins = request.method == "POST" and isinstance(options.get("content"), bytes)
        if begins and status == 200 and text.startswith('{"event_id"') and not answer.complaint:
            answer = _follow(client, request, json.loads(text)["event_id"])
    except httpx.HTTPError as error:
        answer = Answer(request, 0, "", f"no answer: {type(error).__name__} {error}")
    answer.seconds = time.monotonic() - begun
    if answer.seconds > PATIENCE:
        answer.complaint = answer.complaint or "no end"
    return answer


def _read(stream: httpx.Response) -> str:
    """Return the text of an answer; of a stream without end its beginning."""
    parts, begun = [], time.monotonic()
    is_stream = "event-stream" in stream.headers.get("content-type", "")
    for part in stream.iter_text():
        parts.append(part)
        if is_stream and ("ALIVE" in part or time.monotonic() - begun > PATIENCE):
            break
    return "".join(parts)


def _follow(client: httpx.Client, request: Hostile, event: str) -> Answer:
    """Wait for the end of a queued call."""
    body = json.loads(request.options["content"])
    if request.path.startswith("/gradio_api/call"):
        address = f"{request.path}/{event}"
    else:
        address = f"/gradio_api/queue/data?session_hash={body['session_hash']}"
    with client.stream("GET", address) as stream:
        status, text = stream.status_code, _read(stream)
    return _judge(request, status, text)


def _judge(request: Hostile, status: int, text: str) -> Answer:
    complaint = ""
    if status >= 500 and status != 503:
        complaint = f"status {status}"
    elif status >= 400 and request.method != "HEAD":
        complaint = "" if _is_sentence(_words(text)) else f"{status} without a sentence"
    for line in text.split("\n\n"):
        if line.startswith("event: error"):
            found = line.partition("data: ")[2]
            complaint = complaint or ("" if _is_sentence(_words(found)) else "error without text")
        elif line.startswith("data: ") and '"success":false' in line.replace(" ", ""):
            message = json.loads(line[6:])
            said = message.get("message") or (message.get("output") or {}).get("error")
            complaint = complaint or ("" if _is_sentence(said) else "error without text")
    return Answer(request, status, text[:2000], complaint)


def _words(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if isinstance(found, dict):
        return found.get("error") or found.get("detail") or found.get("message")
    return found


def _is_sentence(words: Any) -> bool:
    """Return True for a sentence: some words with a period, and no trace of the program."""
    return (
        isinstance(words, str)
        and words.rstrip().endswith((".", "…", "!"))
        and " " in words.strip()
        and "Traceback" not in words
        and "site-packages" not in words
    )


@dataclass
class Report:
    """The result of a run."""

    answers: list[Answer]
    traces: int
    fetched: int
    names: int
    longest: float
    alive: bool
    start: float = 0.0
    """The longest pause of the event loop before the requests, while models are imported."""

    def complaints(self) -> list[str]:
        """Return one line per answer that is not right."""
        return [
            f"{one.complaint}: {one.request.kind} {one.request.method} {one.request.path[:80]} "
            f"{str(one.request.options)[:300]} -> {one.text[:200]!r}"
            for one in self.answers
            if one.complaint
        ]

    def table(self) -> str:
        """Return the figures as lines."""
        kinds = Counter(one.request.kind for one in self.answers)
        bad = Counter(one.complaint.split(":")[0] for one in self.answers if one.complaint)
        seconds = sorted(one.seconds for one in self.answers)
        return "\n".join(
            [
                f"tried {len(self.answers)} ({dict(kinds)})",
                f"complaints {sum(bad.values())} {dict(bad)}",
                f"stack traces {self.traces}, fetched {self.fetched}, names {self.names}",
                f"longest freeze of the event loop {self.longest:.2f} s, at the start "
                f"{self.start:.2f} s",
                f"slowest answer {seconds[-1]:.1f} s, alive at the end {self.alive}",
            ]
        )


def attack(explorer: Watched, far: Any, count: int, seed: int = 0) -> Report:
    """Send ``count`` requests to an explorer, several at a time. ``far`` is a web server that
    notes in ``requests`` what it is asked."""
    explorer.warm_up()
    limits = httpx.Limits(max_keepalive_connections=0)
    with http.client(base_url=explorer.address, timeout=PATIENCE, limits=limits) as client:
        schema = client.get("/gradio_api/info").json()
        config = client.get("/config").json()
        drawn = draw(schema, config, far.address + "/x.png", seed)
        requests = [next(drawn) for _ in range(count)]
        with ThreadPoolExecutor(VISITORS) as pool:
            answers = list(pool.map(lambda one: send(client, one), requests))
        alive = client.get("/config").status_code == 200
    counted = explorer.counted()
    return Report(
        answers,
        explorer.logged().count("Traceback"),
        len(far.requests),
        len(counted["names"]),
        counted["longest"],
        alive and explorer.process.poll() is None,
        counted["start"],
    )


def main() -> int:
    """Print the table of a long run; exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    from tests.public.bundles import small_bundles
    from tests.public.listening import listening

    with tempfile.TemporaryDirectory() as folder, listening() as far:
        home = small_bundles(Path(folder) / "bundles")
        with watched(Path(folder), home) as explorer:
            report = attack(explorer, far, flags.requests, flags.seed)
            lines = explorer.logged().splitlines()
    noted = sorted({line for line in lines if " failed at " in line})
    print("\n".join([*noted, *report.complaints(), report.table()]))
    wrong = report.complaints() or report.traces or report.fetched or report.names
    return int(bool(wrong) or report.longest > SLOWEST_LOOP or not report.alive)


if __name__ == "__main__":
    sys.exit(main())

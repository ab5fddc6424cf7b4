"""A local web server that serves a folder, with the faults that networks have."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Server:
    """The settings of the server, which may change while it runs, and the requests it received."""

    folder: Path
    address: str = ""
    parts: bool = True
    """True if it answers requests for parts of a file with parts."""
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers; 0 ends the connection after half of the body."""
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    """(path, first byte, bytes) of each request that was answered."""

    @property
    def sent(self) -> int:
        """The number of bytes sent so far."""
        return sum(count for _, _, count in self.asked)


@contextlib.contextmanager
def serve(folder: Path, **settings: object) -> Iterator[Server]:
    """Serve the folder on a free port of 127.0.0.1."""
    state = Server(folder, **settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status = state.failures.pop(0) if state.failures else 200
            path = self.path.partition("?")[0].lstrip("/")
            file = state.folder / path
            if status >= 300 or not file.is_file():
                self.send_response(status if status >= 300 else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = file.read_bytes()
            first, last = 0, len(data) - 1
            wanted = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if state.parts and wanted:
                first, last = int(wanted[1]), min(int(wanted[2]), last)
                self.send_response(206 if data else 416)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            else:
                self.send_response(200)
            body = data[first : last + 1]
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hash(data)}"')
            self.end_headers()
            state.asked.append((path, first, len(body)))
            if status == 0:
                body, self.close_connection = body[: len(body) // 2], True
            with contextlib.suppress(ConnectionError):  # clients may close the connection early
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as state.address:
        yield state


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a local server whose requests ``handler`` answers; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

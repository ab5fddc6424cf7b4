"""A local Hugging Face Hub, with the part of its interface that fetching and publishing use."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.web_server import listening

COMMIT = "c0ffee" + "0" * 34
TOKEN = "hf_right"


@dataclass
class Hub:
    """The contents and refusals of the Hub, which tests change, and the requests that it got."""

    address: str = ""
    repositories: dict[str, Path] = field(default_factory=dict)
    """Folders that can be fetched, by USER/NAME."""
    gated: set[str] = field(default_factory=set)
    large: tuple[str, ...] = (".safetensors", ".npz")
    """Suffixes of files that are not sent inside the commit."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(method, path) of each request."""
    created: list[dict[str, Any]] = field(default_factory=list)
    """The requests that created repositories."""
    committed: dict[str, bytes] = field(default_factory=dict)
    """The files of all commits, by KIND/USER/NAME/PATH."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files that were sent, by their sha256."""
    said: list[str] = field(default_factory=list)
    """The commits' messages."""


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """Start a Hub on a free port of 127.0.0.1."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def answer(self, found: Any, status: int = 200, **headers: str) -> None:
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def refuse(self, status: int, code: str) -> None:
            words = {"error": code}
            self.answer(words, status, X_Error_Code=code, X_Error_Message=code)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            state.asked.append((self.command, path))
            found = re.fullmatch(
                r"(?:/api/(?:models|spaces))?/([^/]+/[^/]+)(?:/(revision|tree|resolve)/([^/]+)(?:/(.*))?)?",
                path,
            )
            name, what, revision, file = found.groups() if found else ("", "", "", "")
            folder = state.repositories.get(name)
            if what == "tree" and any(
                name == f"{c['organization']}/{c['name']}" for c in state.created
            ):
                return self.answer(
                    [
                        {
                            "type": "file",
                            "path": key.split("/", 3)[3],
                            "size": len(data),
                            "oid": hashlib.sha1(data).hexdigest(),
                        }
                        for key, data in state.committed.items()
                        if key.split("/", 1)[1].startswith(name + "/")
                    ]
                )
            if name in state.gated:
                return self.refuse(403, "GatedRepo")
            if folder is None:
                return self.refuse(404, "RepoNotFound")
            if revision not in (None, "main", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            files = sorted(one for one in folder.rglob("*") if one.is_file())
            if what == "resolve":
                data = (folder / file).read_bytes()
                mark = hashlib.sha256(data).hexdigest()
                return self.answer(data, X_Repo_Commit=COMMIT, ETag=f'"{mark}"')
            if what == "tree":
                return self.answer(
                    [
                        {
                            "type": "file",
                            "path": one.relative_to(folder).as_posix(),
                            "size": one.stat().st_size,
                            "oid": hashlib.sha1(one.read_bytes()).hexdigest(),
                        }
                        for one in files
                    ]
                )
            names = [{"rfilename": one.relative_to(folder).as_posix()} for one in files]
            return self.answer({"id": name, "sha": COMMIT, "siblings": names})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            path, body = self.path.partition("?")[0], self.body()
            state.asked.append((self.command, path))
            if path.endswith("/validate-yaml"):
                return self.answer({"warnings": [], "errors": []})
            if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", "Basic none"):
                return self.refuse(401, "Unauthorized")
            if path == "/api/repos/create":
                said = json.loads(body)
                state.created.append(said)
                name = f"{said['organization']}/{said['name']}"
                place = "spaces/" if said.get("type") == "space" else ""
                return self.answer({"url": f"{state.address}/{place}{name}"})
            if path.endswith("/objects/batch"):
                objects = json.loads(body)["objects"]
                to = state.address
                actions = [
                    {**one, "actions": {"upload": {"href": f"{to}/lfs/{one['oid']}"}}}
                    for one in objects
                ]
                return self.answer({"transfer": "basic", "objects": actions})
            found = re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)/(preupload|commit)/main", path)
            if found is None:
                return self.refuse(404, "RepoNotFound")
            kind, name, what = found.groups()
            if what == "preupload":
                modes = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(state.large) else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(body)["files"]
                ]
                return self.answer({"files": modes})
            for line in body.decode().splitlines():
                part = json.loads(line)
                value, place = part["value"], f"{kind}/{name}/"
                if part["key"] == "header":
                    state.said.append(value["summary"])
                elif part["key"] == "file":
                    state.committed[place + value["path"]] = base64.b64decode(value["content"])
                elif part["key"] == "deletedFile":
                    del state.committed[place + value["path"]]
                elif part["key"] == "lfsFile":
                    state.committed[place + value["path"]] = state.stored[value["oid"]]
            at = f"{state.address}/{name}/commit/{COMMIT}"
            return self.answer({"commitUrl": at, "commitOid": COMMIT, "pullRequestUrl": None})

        def do_PUT(self) -> None:
            state.asked.append((self.command, self.path))
            data = self.body()
            state.stored[hashlib.sha256(data).hexdigest()] = data
            self.answer(b"")

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as state.address:
        yield state


def ask_only(
    patch: pytest.MonkeyPatch, address: str, cache: Path, token: str | None = TOKEN
) -> None:
    """Make huggingface_hub, in this process, use ``address`` as the Hub and ``cache`` as home."""
    from huggingface_hub import constants

    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        patch.delenv(name, raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)

"""The server: its command line, and what it tells Gradio."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app import server
from core.paths import ROOT


def test_help_lists_the_options() -> None:
    done = subprocess.run(
        [sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--host" in done.stdout and "127.0.0.1" in done.stdout
    assert "--port" in done.stdout and "7860" in done.stdout


def test_help_imports_neither_gradio_nor_torch() -> None:
    code = (
        "import sys; from app import server\n"
        "try: server.main(['--help'])\n"
        "except SystemExit as end: print(end.code, {'gradio', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 set()"


def test_the_command_line_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[tuple] = []
    monkeypatch.setattr(server, "launch", lambda *given: launched.append(given))
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7999")
    server.main(["--host", "0.0.0.0"])
    server.main(["--port", "8001"])
    assert launched == [("0.0.0.0", 7999), ("127.0.0.1", 8001)]


def test_waiting_threads_sleep_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that it is as before after the test
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    seen: list[str | None] = []
    monkeypatch.setattr(server, "launch", lambda *_: seen.append(os.environ.get("OMP_WAIT_POLICY")))
    server.main([])
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    server.main([])
    assert seen == ["PASSIVE", "active"]


def test_errors_and_large_files_stay_outside() -> None:
    assert server.launch_options()["show_error"] is False
    assert server.launch_options()["max_file_size"] == 20 * 2**20


def test_the_app_works_under_its_installed_name(tmp_path: Path, bundles: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "app", tmp_path / "regvq_app", ignore=ignored)
    code = (
        "import sys; from regvq_app import build_app, server; blocks = build_app();"
        "server.launch_options(); print(len(blocks.get_api_info()['named_endpoints']));"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'app', 'core', 'regvq'}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    endpoints, modules = done.stdout.splitlines()
    assert endpoints == "13" and "'app'" not in modules

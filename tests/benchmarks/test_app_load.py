"""The load benchmark: it counts requests, and separates intended refusals from errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app import server, shell
from core.bundles.bundle import ROOT
from tests.helpers.tiny_priors import prior_bundles


@pytest.fixture
def app_load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import app_load

    return app_load


@pytest.fixture(scope="module")
def address(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start an app with two tokenizers and a prior, and a queue of two; return its address."""
    root = prior_bundles(tmp_path_factory.mktemp("home"), bundles / "tiny-regvq", ("words",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", f"{root},{bundles / 'tiny-vq'}")
        app = shell.build_app()
        app.queue(max_size=2)
        _, address, _ = app.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
        )
        try:
            yield address
        finally:
            app.close(verbose=False)


@pytest.mark.slow
def test_a_run_writes_its_figures(
    app_load: ModuleType,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "load.md"
    arguments = ["--url", address, "--pid", os.getpid(), "--visitors", 4, "--seconds", 2]
    arguments += ["--pause", 0.05, "--out", out]
    monkeypatch.setattr(sys, "argv", ["app_load.py", *map(str, arguments)])
    app_load.main()
    report = out.read_text()
    assert report.strip() == capsys.readouterr().out.strip()
    cells = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:6]]
        for row in report.splitlines()
        if row.startswith("| ") and not row.startswith("| |")
    }
    assert {"reconstruct", "code_detail", "mask_sweep", "compare", "generate_text"} < set(cells)
    asked, answered, refused, errors = map(int, cells["all"])
    assert asked == answered + refused and answered > 0 and errors == 0, report
    assert asked == sum(int(row[0]) for name, row in cells.items() if name != "all")
    assert "MB at the start" in report and "Left out, because no checkpoint is available" in report
    assert "/generate_semantic" in report.split("Left out")[1]


def test_a_full_queue_is_no_error_and_an_error_is_one(
    app_load: ModuleType, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio_client.utils import QueueError

    class Full:
        def submit(self, *_: object, api_name: str) -> None:
            raise QueueError("Queue is full!") if api_name == "/compare" else ValueError("broken")

    crowd = app_load.Crowd(address, app_load.Visit((), tmp_path), 0, ["/compare", "/code_map"])
    monkeypatch.setattr(app_load.time, "sleep", lambda _: None)
    for name in crowd.names:
        crowd._ask(Full(), name, ())
    assert (crowd.tallies["/compare"].refused, crowd.tallies["/compare"].errors) == (1, [])
    assert crowd.tallies["/code_map"].errors == ["ValueError: broken"]
    row = app_load.table(crowd.tallies)[-1]
    assert row.startswith("| all | 2 | 0 | 1 | 1 |")


def test_figures(app_load: ModuleType) -> None:
    values = [float(value) for value in range(1, 101)]
    assert app_load.quantile(values[::-1], 0.5) == 50 and app_load.quantile(values, 0.95) == 95
    assert app_load.quantile([], 0.5) is None
    memory = [(float(second), 100.0 + second) for second in range(61)]
    said = " ".join(app_load.memory_lines(memory, 60))
    assert "100 MB at the start, 110 MB after 10 s, 160 MB at the end (+45.5% since then)" in said
    assert "+60.0 MB per minute" in said
    assert 10 < app_load.resident(os.getpid()) < 1e5

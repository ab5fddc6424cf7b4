"""The benchmark of a GPU runs to its end on a CPU, and says what failed or was missed."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from core.paths import ROOT
from core.plain import is_plain


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    return gpu


def test_every_section_runs_with_tiny_sizes(
    gpu: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PATCHED", "FEW"):  # pictures of a bundle's atlas
        monkeypatch.setattr(f"train.export.tokenizer.{name}", 4)
    file = tmp_path / "gpu.json"
    gpu.main(["--tiny", "--out", str(file)])
    found = json.loads(file.read_text())
    said = capsys.readouterr().out
    assert list(found["sections"]) == list(gpu.SECTIONS)
    for name, section in found["sections"].items():
        assert section.get("rows"), (name, section)
        assert f"**{name}**" in said
        for row in section["rows"]:
            assert row["value"] == row["value"], (name, row)  # not NaN
    assert {"bf16", "fp32", "bandwidth"} <= set(found["limits"])
    wrong = [
        (name, row)
        for name in ("kernels", "quantizers", "networks", "runs", "waits")
        for row in found["sections"][name]["rows"]
        if not row.get("ok", True)
    ]
    assert not wrong
    assert "failed sections: none" in said
    rows = {row["what"]: row for row in found["sections"]["training"]["rows"]}
    share = next(row for what, row in rows.items() if what.endswith("share of the bf16 peak"))
    step = next(row for what, row in rows.items() if what.endswith("pixels: step"))
    flop = share["value"] * found["limits"]["bf16"] * step["value"] / 1e3
    assert 1e7 < flop < 1e10  # of a tiny step: two pictures, three networks
    assert share["target"] == "at least 0.45"


def test_a_section_that_fails_does_not_stop_the_others(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpu_setup import row

    def broken(setup: Any) -> list[Any]:
        raise RuntimeError("CUDA error: an illegal memory access")

    def good(setup: Any) -> list[Any]:
        return [row("ids", 1, target=2, least=True), row("error", 3, "ms", target=4)]

    monkeypatch.setattr(gpu, "SECTIONS", {"broken": (broken, 5), "good": (good, 5)})
    with pytest.raises(SystemExit):
        gpu.main(["--tiny"])
    said = capsys.readouterr().out
    assert "FAILED: RuntimeError: CUDA error: an illegal memory access" in said
    assert "| ids | 1  | **MISSED: at least 2** |  |" in said
    assert "| error | 3 ms | at most 4 |  |" in said
    assert "1 targets missed; failed sections: broken" in said


def test_a_section_that_hangs_is_ended(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        exitcode = None

        def __init__(self, **_: Any) -> None:
            self.ended: list[str] = []
            made.append(self)

        def start(self) -> None:
            self.ended.append("started")

        def kill(self) -> None:
            self.ended.append("killed")

        def join(self) -> None:
            self.ended.append("joined")

    made: list[Process] = []
    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(type(context), "Process", Process)
    found = gpu._in_own_process("machine", gpu.Setup("cpu"), 0.05)
    assert "ended with exit code" in found["failed"]  # nobody holds the other end
    assert made[0].ended[0] == "started" and made[0].ended[-2:] == ["killed", "joined"]
    kept: list[Any] = []
    pipe = context.Pipe(duplex=False)
    kept.append(pipe[1])
    pipe[1].close = lambda: None
    monkeypatch.setattr(type(context), "Pipe", lambda self, duplex: (pipe[0], SimplePipe()))
    assert gpu._in_own_process("machine", gpu.Setup("cpu"), 0.05) == {
        "failed": "it took longer than 0 s"
    }


class SimplePipe:
    def close(self) -> None:
        """Leave the pipe open, as a process that hangs does."""


def test_no_section_begins_after_the_limit(gpu: ModuleType) -> None:
    found = gpu.measure("cpu", ("machine", "lookup"), tiny=True, total=0.5)
    assert all("are over" in section["failed"] for section in found["sections"].values())


def test_the_switch_is_put_back(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu_setup import plain

    monkeypatch.setenv("REGVQ_PLAIN", "0")
    with plain():
        assert is_plain()
    assert not is_plain()


def test_flop_are_counted_of_products_and_convolutions(gpu: ModuleType) -> None:
    import gpu_speeds

    layer = torch.nn.Conv2d(3, 8, 3, padding=1)

    def call() -> None:
        torch.ones(5, 7) @ torch.ones(7, 11)
        layer(torch.ones(2, 3, 4, 4)).sum().backward()

    # The images need no gradient, so that the backward pass is one product more.
    assert gpu_speeds._flop(call) == 2 * 5 * 7 * 11 + 2 * (2 * 2 * 8 * 3 * 9 * 16)

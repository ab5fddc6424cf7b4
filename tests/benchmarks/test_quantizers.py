"""The benchmarks run, and the methods that they compare compute the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest
import torch

from core.paths import ROOT
from core.quantizers.base import to_rows

BENCHMARKS = ROOT / "benchmarks"
OURS, PEER = "regvq-studio", "vector-quantize-pytorch"


@pytest.fixture
def kinds(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kinds

    return kinds


def run_benchmark(script: str, *arguments: str) -> str:
    """Return the output of a benchmark with tiny sizes."""
    small = ["--rows", "256", "--repeats", "2", "--seconds", "9", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *small, *arguments],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lookup_prints_a_table_and_writes_files(tmp_path):
    files = [str(tmp_path / name) for name in ("figures.json", "figures.md")]
    arguments = ["--cases", "64x4", "--kinds", "nearest code", "fsp", "--makers", OURS, "textbook"]
    said = run_benchmark("lookup.py", *arguments, "--company", "1", "--out", *files)
    assert "**lookup: 64 codes of 4, 256 latents**" in said
    assert f"| ms, alone | {OURS} | textbook |" in said and "| ms, in company | " in said
    assert len(re.findall(r"\| nearest code \|( \**\d+\.\d\** \|){2}\n", said)) == 2
    assert re.search(r"\| nearest code \|( \**\d+\** \|){2}\n", said)
    assert re.search(r"Slower than textbook in company: (nothing|nearest code \(\d+\.\d\d)", said)
    assert "**lookup" in (tmp_path / "figures.md").read_text()
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert [(row["kind"], row["maker"]) for row in figures] == [
        ("nearest code", OURS), ("nearest code", "textbook"), ("fsp", OURS)
    ]  # fmt: skip
    for row in figures:
        assert row["alone_ms"] > 0 and row["company_ms"] > 0 and row["extra_mb"] >= 0
        assert row["calls"] == 2


def test_training_compares_every_kind_with_its_rivals(tmp_path, kinds):
    pytest.importorskip("vector_quantize_pytorch")
    import steps

    assert tuple(steps.METHODS) == kinds.OWN
    assert all(OURS in makers for makers in steps.METHODS.values())
    assert {kind for kind, makers in steps.METHODS.items() if PEER in makers} == set(kinds.PEERS)
    assert all("textbook" in steps.METHODS[kind] for kind in kinds.OWN if kind != "bsq-joint")
    file = tmp_path / "training.json"
    arguments = ["--cases", "63x8", "--kinds", "residual", "lfq", "--makers", OURS, PEER]
    said = run_benchmark("training.py", *arguments, "--company", "1", "--out", str(file))
    assert "| residual |" in said
    assert f"{OURS} lfq: ValueError: quantizer.size must be a power of two" in said
    assert f"Slower than {PEER} alone: " in said and f"Slower than {PEER} in company: " in said
    figures = json.loads(file.read_text())
    assert figures["machine"]["busy processes in company"] == 1
    failed = [row["kind"] for row in figures["figures"] if "failed" in row]
    assert len(figures["figures"]) == 4 and failed == ["lfq", "lfq"]


@pytest.mark.long
def test_without_company_the_table_has_none_and_names_failures():
    arguments = ["--cases", "63x4", "--kinds", "lfq", "nsvq", "--makers", OURS, "textbook"]
    said = run_benchmark("training.py", *arguments, "--company", "0")
    assert "in company" not in said
    assert f"{OURS} lfq: ValueError: quantizer.size must be a power of two" in said
    assert re.search(r"\| nsvq \|( \**\d+\.\d\** \|){2}\n", said)
    assert re.search(r"\| nsvq \|( \**\d+\** \|){2}\n", said)


def test_tables_say_where_ours_is_slower(kinds):
    from method_tables import table

    def row(kind: str, maker: str, alone: float, busy: float) -> dict:
        return {
            "kind": kind,
            "maker": maker,
            "alone_ms": alone,
            "company_ms": busy,
            "extra_mb": 1.0,
        }

    lines = table("h", [row("vq", OURS, 10, 30), row("vq", PEER, 11, 20), row("fsq", OURS, 10.4, 1),
                        row("fsq", PEER, 10, 2), row("ibq", OURS, 1, 1)])  # fmt: skip
    assert f"- Slower than {PEER} alone: nothing." in lines
    assert f"- Slower than {PEER} in company: vq (1.50 times)." in lines
    heads = [lines.index(f"| {what} | {OURS} | {PEER} |")
             for what in ("ms, alone", "ms, in company", "extra MB")]  # fmt: skip
    assert [lines[head + 2] for head in heads] == [
        "| vq | **10.0** | 11.0 |", "| vq | 30.0 | **20.0** |", "| vq | **1** | **1** |"
    ]  # fmt: skip
    assert [lines[head + 4] for head in heads] == ["| ibq | 1.0 |  |"] * 2 + ["| ibq | 1 |  |"]
    alone = row("vq", OURS, 10, 30)
    del alone["company_ms"]
    assert {"| vq | 10.0 |", "| vq | 1 |"} < set(table("h", [alone]))
    assert "in company" not in "\n".join(table("h", [alone]))


def test_company_is_busy_while_it_is_there_and_then_gone(kinds):
    from company import CORES, company

    assert CORES >= 1
    before = os.times()
    with company(2) as processes:
        assert len(processes) == 2
        time.sleep(1)
        assert all(process.poll() is None for process in processes)
    assert all(process.poll() is not None for process in processes)
    after = os.times()
    assert after.children_user > before.children_user + 0.02


def test_company_ends_with_its_benchmark(kinds):
    """A killed benchmark leaves no busy process behind."""
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from company import company\n"
        "with company(1) as (one,):\n"
        "    print(one.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as benchmark:
        pid = int(benchmark.stdout.readline())
        os.kill(pid, 0)
        benchmark.kill()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it is still running")


def test_both_lookups_find_the_same_codes(kinds):
    import ids

    found = []
    for build in (ids.lookup_ours, ids.lookup_textbook):
        torch.manual_seed(0)
        found.append(build(torch.randn(2, 6, 16, 16), 300)())
    assert torch.equal(*found)


def copy_weights(kind: str, ours, theirs) -> None:
    """Give the textbook's module the weights of ours."""
    if kind in ("residual", "product"):
        for mine, other in zip(ours.quantizers, theirs.parts, strict=True):
            copy_weights("vq-ema", mine, other)
        return
    with torch.no_grad():
        if kind in ("lfq", "bsq", "fsq", "fsp"):
            ends = "bits" if kind in ("lfq", "bsq") else "levels"
            for part in (f"to_{ends}", f"from_{ends}"):
                getattr(theirs, part).load_state_dict(getattr(ours, part).state_dict())
            return
        theirs.codes.copy_(ours.frozen if kind == "simvq" else ours.codes)
        if kind == "simvq":
            theirs.layer.load_state_dict(ours.projection.state_dict())
        if kind == "vq-ema":
            theirs.sums.copy_(ours.sums)


@pytest.mark.parametrize(
    "kind",
    ["vq", "vq-ema", "simvq", "nsvq", "ibq", "fsq", "lfq", "bsq", "residual", "product"],
)  # those without noise
def test_textbook_and_own_training_steps_are_equal(kinds, kind):
    """Values, losses and gradients on the latents are the same: both do the same work."""
    import textbook

    z = torch.randn(2, 8, 4, 4, requires_grad=True)
    ours, theirs = kinds.own_config(kind, 64).build(8), textbook.build(kind, 64, 8, "cpu")
    copy_weights(kind, ours, theirs)
    out = ours(z)
    mine = sum(out.losses.values())
    seen, loss = textbook.FORMS[kind](theirs, to_rows(z))
    torch.testing.assert_close(to_rows(out.z), seen, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.as_tensor(mine).float(), loss, rtol=1e-4, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad(out.z.square().sum() + mine, z),
        torch.autograd.grad(seen.square().sum() + loss, z),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-4)
    if kind in ("vq-ema", "residual", "product"):
        ours.update(z.detach(), out.ids)
        first = (ours, theirs) if kind == "vq-ema" else (ours.quantizers[1], theirs.parts[1])
        torch.testing.assert_close(first[0].codes, first[1].codes, rtol=1e-4, atol=1e-5)


def test_textbook_and_own_steps_of_fsp_are_equal_but_for_the_noise(kinds, monkeypatch):
    """With noise of 0.5, which moves nothing, values, losses and gradients are the same."""
    import textbook

    z = torch.randn(2, 6, 4, 4, requires_grad=True)
    ours, theirs = kinds.own_config("fsp", 256).build(6), textbook.build("fsp", 256, 6, "cpu")
    assert ours.config.levels == tuple(theirs.levels.tolist()) == (4, 4, 4, 4)
    copy_weights("fsp", ours, theirs)
    half = torch.full((32, 4), 0.5)
    monkeypatch.setattr("core.quantizers.fsp.uniform", lambda *asked: half)
    monkeypatch.setattr(torch, "rand_like", lambda like: half)
    out = ours(z)
    mine = sum(out.losses.values())
    seen, loss = textbook.fsp(theirs, to_rows(z))
    torch.testing.assert_close(to_rows(out.z), seen, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine, loss, rtol=1e-4, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad(out.z.square().sum() + mine, z),
        torch.autograd.grad(seen.square().sum() + loss, z),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("module", ["ids", "steps"])
def test_every_method_runs(kinds, module):
    """The peers assign as many ids per place as ours."""
    pytest.importorskip("vector_quantize_pytorch")
    methods = __import__(module).METHODS
    z = torch.randn(1, 8, 16, 16)
    for kind, makers in methods.items():
        for maker, build in makers.items():
            if maker == "diffusers":  # it takes seconds to import
                continue
            found = build(z, 256)()
            if module == "steps" or kind == "nearest code" or maker != OURS:
                continue
            ids = makers[PEER](z, 256)()[1]
            assert (
                found.ids.numel()
                == ids.numel()
                == 256 * (kinds.LEVELS if kind in ("residual", "product") else 1)
            )

"""The Triton kernel against plain PyTorch, in Triton's interpreter, without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from core.paths import ROOT
from core.quantizers.tiled import lookup

SAME = """
import torch
from core.quantizers.tiled import triton_kernel
from core.quantizers.tiled.lookup import plain_best_code

kernel = triton_kernel.triton_best_code
draw = torch.Generator().manual_seed(0)
# incomplete blocks in every axis, one entry around each block, one row, one code, one dimension
for count, size, dim in (
    (1, 1, 1), (70, 300, 7), (65, 129, 33), (3, 200, 130), (64, 128, 16), (63, 127, 15),
    (129, 257, 65), (2, 1, 17), (1, 513, 1), (128, 256, 64), (5, 1000, 63), (64, 3, 128),
):
    rows, weight = (torch.randn(n, dim, generator=draw) for n in (count, size))
    bias = torch.randn(size, generator=draw)
    ids = kernel(rows, weight, bias)
    assert ids.dtype == torch.int64
    assert torch.equal(ids, plain_best_code(rows, weight, bias)), (count, size, dim)
# rows and codes that are not contiguous in memory
rows, weight = (torch.randn(9, n, generator=draw).t() for n in (20, 150))
assert torch.equal(
    kernel(rows, weight, torch.zeros(150)), plain_best_code(rows, weight, torch.zeros(150))
)
# the lowest of equal scores: within a block of codes, across blocks, and all of them; with whole
# numbers, whose sums are exact in any order of the interpreter's BLAS
whole = torch.cartesian_prod(*[torch.arange(-2.0, 2.0)] * 4)
twins = whole[torch.randperm(256, generator=draw)[:140]].repeat(2, 1)
assert torch.equal(kernel(twins[:140], twins, -0.5 * twins.square().sum(1)), torch.arange(140))
equal = torch.randint(-3, 4, (7, 3), generator=draw).float()
assert not kernel(equal, torch.ones(300, 3), torch.zeros(300)).any()
# scores that differ by two millionths: full float32 products, no shorter ones
base = torch.randn(40, 48, generator=draw)
near = torch.cat([base + 1e-3 * torch.randn(40, 48, generator=draw) for _ in range(4)])
exact = (near.double() @ near.double().t() - 0.5 * near.double().square().sum(1)).argmax(1)
found = kernel(near, near, -0.5 * near.square().sum(1))
assert (found == exact).float().mean() > 0.99, (found == exact).float().mean()
# codes of very different lengths, and a bias that decides alone
rows, weight = torch.randn(9, 20, generator=draw), torch.randn(150, 20, generator=draw)
weight *= torch.logspace(-6, 6, 150)[:, None]
bias = -0.5 * weight.square().sum(1)
scores = rows.double() @ weight.double().t() + bias.double()
gap = scores.amax(1) - scores.gather(1, kernel(rows, weight, bias)[:, None])[:, 0]
assert gap.max() < 1e-6, gap
bias = torch.full((150,), -1e9)
bias[77] = 1e9
assert (kernel(rows, weight * 1e-6, bias) == 77).all()
# half precision is refused here, and converted, without loss, by the search
for kind in (torch.bfloat16, torch.float16, torch.float64):
    small = [x.to(kind) for x in (rows, weight * 1e-6, bias / 1e6)]
    try:
        kernel(*small)
    except ValueError as error:
        assert "takes float32" in str(error)
    else:
        raise AssertionError(kind)
assert len(kernel(torch.empty(0, 4), torch.ones(3, 4), torch.zeros(3))) == 0
print("same")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_equals_plain_best_code():
    done = subprocess.run(
        [sys.executable, "-c", SAME],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n"


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_rows_in_half_precision_are_searched_in_float32(kind: torch.dtype) -> None:
    """Rounded scores of 6,000 codes would be equal for many."""
    draw = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(n, 16, generator=draw).to(kind) for n in (200, 6000))
    bias = (-0.5 * weight.float().square().sum(1)).to(kind)
    ids = lookup.best_code(rows, weight, bias)
    scores = rows.double() @ weight.double().t() + bias.double()
    assert torch.equal(ids, scores.argmax(1))
    assert not torch.equal(ids, (rows @ weight.t() + bias).argmax(1))


def test_a_search_on_the_cpu_does_not_import_triton():
    code = (
        "import sys, torch; from core.quantizers.tiled.lookup import nearest_code;"
        "nearest_code(torch.ones(2, 3), torch.ones(4, 3));"
        "print('core.quantizers.tiled.triton_kernel' in sys.modules, 'triton' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "False False\n", done.stderr


def test_the_kernel_is_used_on_a_gpu_if_triton_is_installed(monkeypatch):
    class OnGPU:
        is_cuda, is_cpu, dtype = True, False, torch.float32

    lookup._kernel.cache_clear()
    monkeypatch.setattr(lookup, "plain_best_code", lambda *given: "plain")
    monkeypatch.setattr(lookup, "find_spec", lambda name: None)
    assert lookup.best_code(OnGPU(), None, None) == "plain"
    monkeypatch.setattr(lookup, "_kernel", lambda: lambda *given: "kernel")
    assert lookup.best_code(OnGPU(), None, None) == "kernel"
    OnGPU.dtype = torch.float64
    assert lookup.best_code(OnGPU(), None, None) == "plain"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_kernel_on_a_gpu():
    rows, codes = torch.randn(5000, 33, device="cuda"), torch.randn(70_000, 33, device="cuda")
    bias = -0.5 * codes.square().sum(1)
    ids = lookup.best_code(rows, codes, bias)
    with torch.no_grad():
        plain = lookup.plain_best_code(rows, codes, bias)
    scores = rows.double() @ codes.double().t() + bias.double()
    chosen, best = scores.gather(1, ids[:, None]), scores.max(1, keepdim=True).values
    assert (best - chosen <= 1e-5 * (1 + best.abs())).all()
    assert (ids == plain).float().mean() > 0.999

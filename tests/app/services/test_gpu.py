"""A GPU that is lent for a call (ZeroGPU), and none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.services import generation, gpu, priors, sampling
from app.ui.errors import Refused
from core.bundles.bundle import ROOT
from tests.helpers.tiny_priors import prior_bundles


@pytest.fixture
def home(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = prior_bundles(tmp_path / "priors", bundles / "tiny-regvq", ("words", "planned"))
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(root))
    return root


def test_a_lent_gpu_draws_the_same_in_a_process_of_its_own(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.lent_gpu"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    there = json.loads(done.stdout.splitlines()[-1])
    assert there["elsewhere"] and there["here"] == "cpu" and there["asked"] == [gpu.SECONDS] * 2
    order = generation.text_order("a lake below mountains", "words", 1, 7)
    *_, last = generation.steps(order)
    assert there["ids"] == last.ids.tolist()
    # What a visitor is told comes through.
    known = priors.painter("planned", "semantic")
    with pytest.raises(Refused) as refusal:
        list(sampling.sample(known, None, sampling.settings(known, steps=3)))
    assert there["refusal"] == str(refusal.value) != ""


def test_elsewhere_the_decorator_does_nothing() -> None:
    assert not gpu.LENT

    def plain() -> None:
        yield None

    assert gpu.on_gpu(plain) is plain


def test_the_lock_lets_one_thread_in_at_a_time_and_that_one_again() -> None:
    lock, inside = gpu.ModelLock(), []
    with lock, lock:
        other = threading.Thread(target=lambda: [lock.__enter__(), inside.append(1)])
        other.start()
        other.join(0.2)
        assert inside == []
    other.join(10)
    assert inside == [1]

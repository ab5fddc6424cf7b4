"""A GPU that is lent for a call (ZeroGPU), and machines without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.services import generation, gpu, priors, sampling
from app.services.errors import UserError
from core.bundles.bundle import ROOT
from tests.helpers.tiny_priors import prior_bundles


@pytest.fixture
def home(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = prior_bundles(tmp_path / "priors", bundles / "tiny-regvq", ("words", "planned"))
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(root))
    return root


@pytest.mark.slow
def test_a_lent_gpu_generates_the_same_tokens_in_another_process(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.lent_gpu"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    there = json.loads(done.stdout.splitlines()[-1])
    assert there["elsewhere"] and there["here"] == "cpu" and there["asked"] == [gpu.SECONDS] * 2
    request = generation.text_request("a lake below mountains", "words", 1, 7)
    *_, last = generation.shown_steps(request)
    assert there["ids"] == last.ids.tolist()
    # The sentence for the user comes through.
    handle = priors.open_prior("planned", "semantic")
    with pytest.raises(UserError) as refusal:
        list(sampling.sample(handle, None, sampling.parse_settings(handle, steps=3)))
    assert there["refusal"] == str(refusal.value) != ""


def test_without_lent_gpus_the_decorator_does_nothing() -> None:
    assert not gpu.LENT

    def plain() -> None:
        yield None

    assert gpu.on_gpu(plain) is plain

"""Idle threads sleep in every process of the project: the policy is set before torch is imported.

Each file that is run as a program runs here in one new process, in which nothing imports torch: the
first attempt, or the start of another process, ends the program and shows the policy that torch or
the child would have found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import ROOT
from core.threads import LOOKS

NOWHERE = ("--checkpoint", "nowhere")
DATA = ("--data.name", "scenes", "--out", "unused")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "benchmarks/crop_rates.py": (),
    "benchmarks/first_picture.py": ("nothing",),
    "benchmarks/flags.py": (),
    "benchmarks/gpu.py": ("--out", "unused"),
    "benchmarks/large_codebooks.py": (),
    "benchmarks/lookup.py": (),
    "benchmarks/run.py": ("--only", "lookup", "--out", "unused", "--page", "unused.md"),
    "benchmarks/sampling.py": (),
    "benchmarks/scale.py": (),
    "benchmarks/scenes.py": (),
    "benchmarks/step_shares.py": ("scenes-vq",),
    "benchmarks/training.py": (),
    "examples/tokenizer_in_your_trainer.py": (),
    "examples/train_on_your_photos.py": ("nowhere",),
    "train/encode.py": (*NOWHERE, *DATA),
    "train/evaluate.py": (*NOWHERE, *DATA),
    "train/export_tokenizer.py": ("nowhere", "--to", "onnx", "--out", "unused"),
    "train/import_tokenizer.py": ("nowhere", "--out", "unused"),
    "train/judge.py": ("labels", "--out", "unused"),
    "train/patches.py": (*NOWHERE, "--data.name", "scenes"),
    "train/publish.py": (*NOWHERE, "--repo", "one/two"),
    "train/run.py": ("scenes-regvq", "--out", "unused"),
    "train/study.py": ("run", "--study.root", "nowhere", "--out", "unused"),
}
"""Programs with arguments with which each one comes to torch, or to another process."""
OTHERS = {
    "app.py",  # tests/app/test_server.py
    "benchmarks/app_load.py",  # these four let another process compute, that of app.py
    "benchmarks/app_speed.py",
    "benchmarks/soak.py",
    "benchmarks/visitors.py",
}
PROBE = """
import contextlib, io, json, os, runpy, subprocess, sys
from multiprocessing.process import BaseProcess

class Reached(BaseException):
    pass

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            stop()

def stop(*_, **__):
    raise Reached([os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")])

sys.meta_path.insert(0, Watch())
subprocess.Popen.__init__ = BaseProcess.start = stop
root, programs = json.loads(sys.argv[1])
found, began = {}, list(sys.path)
for name, arguments in programs.items():
    os.environ.pop("OMP_WAIT_POLICY", None)
    os.environ.pop("GOMP_SPINCOUNT", None)
    if len(sys.argv) > 2:
        os.environ["OMP_WAIT_POLICY"] = sys.argv[2]
    file = os.path.join(root, name)
    sys.path[:] = [os.path.dirname(file), *began]
    sys.modules.pop("_bootstrap", None)
    sys.argv[:1] = [file]
    kept, sys.argv = sys.argv, [file, *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(file, run_name="__main__")
        found[name] = "it ended without torch"
    except Reached as reached:
        found[name] = reached.args[0]
    except SystemExit as end:
        found[name] = f"it exited with {end.code}"
    sys.argv = kept
print(json.dumps(found))
"""


def first_policies(folder: Path, *policy: str) -> dict[str, list[str | None]]:
    """Return the policy that torch would have found in each program, and the number of looks before
    a thread sleeps; ``policy``: the user's own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = json.dumps([str(ROOT), PROGRAMS])
    done = subprocess.run(
        [sys.executable, "-c", PROBE, asked, *policy],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_program_is_listed() -> None:
    files = (
        file for part in ("benchmarks", "examples", "train") for file in (ROOT / part).glob("*.py")
    )
    mains = {
        str(file.relative_to(ROOT))
        for file in files
        if 'if __name__ == "__main__"' in file.read_text()
    }
    assert mains | {"app.py"} == set(PROGRAMS) | OTHERS


def test_torch_finds_the_policy_in_every_program(tmp_path: Path) -> None:
    assert first_policies(tmp_path) == {name: ["PASSIVE", str(LOOKS)] for name in PROGRAMS}
    assert not any(tmp_path.iterdir())


@pytest.mark.long
def test_the_users_own_policy_reaches_every_program(tmp_path: Path) -> None:
    assert first_policies(tmp_path, "active") == {name: ["active", None] for name in PROGRAMS}

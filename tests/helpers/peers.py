"""The authors' own code, beside which imported tokenizers are tested: installed on demand."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from core.paths import ROOT

LIST = ROOT / "tests" / "importing_peers.txt"
SECONDS = 600


@lru_cache(maxsize=1)
def peers_folder() -> Path | str:
    """Return the folder that holds the packages of ``importing_peers.txt``, or why there is none.

    It is ``$REGVQ_TEST_PEERS``, or one in the user's cache that is named after the list and the
    Python version; it is filled once, by pip.
    """
    if given := os.environ.get("REGVQ_TEST_PEERS"):
        return Path(given)
    text = LIST.read_text(encoding="utf-8") + sys.version.split(" ")[0]
    name = f"peers-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder = Path.home() / ".cache" / "regvq-studio" / name
    if folder.is_dir():
        return folder
    beside = folder.with_name(f"{name}.{os.getpid()}")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    try:
        done = subprocess.run(
            [*command, "--target", str(beside), "-r", str(LIST)],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        shutil.rmtree(beside, ignore_errors=True)
        return "pip did not finish in time"
    if done.returncode:
        shutil.rmtree(beside, ignore_errors=True)
        return f"pip cannot install them: {done.stderr.strip().splitlines()[-1:]}"
    try:
        beside.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def run_beside_peers(script: str, *arguments: object) -> None:
    """Run a script of ``tests/helpers`` in a process that can import the authors' packages.

    Skips the test where they cannot be installed.
    """
    folder = peers_folder()
    if isinstance(folder, str):
        pytest.skip(f"the authors' packages are missing: {folder}")
    environment = os.environ | {"PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "helpers" / script), *map(str, arguments)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]

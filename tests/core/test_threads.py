"""The policy of waiting threads: it reaches OpenMP, and the user's own value stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.paths import ROOT
from core.threads import LOOKS, POLICY, SPINS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP tells its state"),
]


def told(*words: str, **own: str) -> tuple[str, int]:
    """Run Python in a new process; return its output and how often a waiting thread of OpenMP looks
    again before it sleeps. By default that is often, although the policy is printed as PASSIVE.
    ``own``: what the user has set."""
    kept = {name: value for name, value in os.environ.items() if name not in (POLICY, SPINS)}
    environment = kept | {"OMP_DISPLAY_ENV": "VERBOSE"} | own
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    found = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT = " in line]
    assert found, done.stderr
    return done.stdout.strip(), int(found[-1].split("'")[1])


CALL = "from core.threads import wait_passively; print(wait_passively())"


def test_threads_sleep_soon_if_that_is_said_before_torch() -> None:
    assert told("-c", f"{CALL}; import torch") == ("True", LOOKS)
    said, spins = told("-c", f"import torch; {CALL}")
    assert said == "False" and spins > 10 * LOOKS


def test_the_users_own_policy_stays() -> None:
    said, spins = told("-c", f"{CALL}; import torch", **{POLICY: "active"})
    assert said == "False" and spins > 10 * LOOKS
    assert told("-c", f"{CALL}; import torch", **{POLICY: "passive"}) == ("True", 0)
    assert told("-c", f"{CALL}; import torch", **{SPINS: "7"}) == ("True", 7)


def test_a_command_of_the_trainer_waits_passively() -> None:
    words = "train/evaluate.py", "--checkpoint", "nowhere", "--data.name", "scenes", "--out", "x"
    assert told(*words)[1] == LOOKS

"""The way in which idle threads of torch's CPU loops wait for their next piece of work."""

from __future__ import annotations

import os
import sys

POLICY = "OMP_WAIT_POLICY"
"""The environment variable that OpenMP reads when torch is imported: PASSIVE or ACTIVE."""

SPINS = "GOMP_SPINCOUNT"
"""That of GNU's OpenMP, which torch has on Linux: how often a waiting thread looks for work before
it sleeps."""

LOOKS = 1000
"""The number of looks that is set here, about 20 microseconds: as long as waking a thread takes.
Without any, an idle machine takes up to twice as long for small operations; from about 4,000 on,
two cores that are shared with other programs do (measured: docs/performance.md)."""


def wait_passively() -> bool:
    """Make idle threads sleep after a short wait, and return True if they will.

    torch shares out each operation among OpenMP's threads, which wait for the slowest at its end
    and then for the next one. By default they spin for milliseconds while they wait. Where another
    program has a core, the spinning thread keeps that program, and with it the thread that all are
    waiting for, from running: what consists of many small operations then takes up to ten times as
    long. A thread that sleeps
    at once has to be woken for every small operation. With a wait as long as waking takes, neither
    costs more than twice what is needed.

    Call it where a process begins: it changes nothing once torch is imported (False). A value of
    ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT`` that the user has set is kept. Child processes inherit
    the setting.
    """
    if POLICY not in os.environ:
        os.environ.setdefault(SPINS, str(LOOKS))
    chosen = os.environ.setdefault(POLICY, "PASSIVE")
    return chosen.strip().upper() == "PASSIVE" and "torch" not in sys.modules

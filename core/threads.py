"""The way in which idle threads of torch's CPU loops wait for their next piece of work."""

from __future__ import annotations

import os
import sys

POLICY = "OMP_WAIT_POLICY"
"""The environment variable that OpenMP reads when torch is imported: PASSIVE or ACTIVE."""


def wait_passively() -> bool:
    """Make idle threads sleep, and return True if they will.

    torch shares out each operation among OpenMP's threads, which wait for the slowest at its end
    and then for the next one. By default they spin while they wait. On an idle machine that gains
    little; where another program has a core, the spinning thread keeps that program, and with it
    the thread that all are waiting for, from running: a codebook lookup then takes ten times as
    long.

    Call it where a process begins: it changes nothing once torch is imported (False). A value of
    ``OMP_WAIT_POLICY`` that the user has set is kept. Child processes inherit the setting.
    """
    chosen = os.environ.setdefault(POLICY, "PASSIVE")
    return chosen.strip().upper() == "PASSIVE" and "torch" not in sys.modules

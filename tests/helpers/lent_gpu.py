"""An imitation of a Space on ZeroGPU; test_gpu.py runs it in its own process.

The module ``spaces`` here does what the package does on a Space: a decorated function runs in a
forked process, its arguments and results are pickled. Another thread holds the lock at that moment.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import pickle
import sys
import threading
import types
from pathlib import Path
from typing import Any

asked: list[Any] = []


def lend(duration: Any = None) -> Any:
    """Return ``spaces.GPU(duration=…)`` for generator functions."""

    def decorate(task: Any) -> Any:
        @functools.wraps(task)
        def there(*args: Any, **kwargs: Any) -> Any:
            asked.append(duration)
            context = multiprocessing.get_context("fork")
            near, far = context.Pipe()
            given = pickle.dumps((args, kwargs))

            def work() -> None:
                try:
                    args, kwargs = pickle.loads(given)
                    for one in task(*args, **kwargs):
                        far.send_bytes(pickle.dumps((os.getpid(), one)))
                finally:  # an exception that is not caught here only ends the process
                    far.send_bytes(pickle.dumps(None))

            process = context.Process(target=work)
            process.start()
            try:
                while (got := pickle.loads(near.recv_bytes())) is not None:
                    pids.add(got[0])
                    yield got[1]
            finally:
                process.join(60)
                process.kill()

        return there

    return decorate


pids: set[int] = set()
sys.modules["spaces"] = types.SimpleNamespace(GPU=lend)  # type: ignore[assignment]
os.environ["SPACES_ZERO_GPU"] = "true"

from app.services import generation, gpu, priors, sampling  # noqa: E402
from app.services.errors import UserError  # noqa: E402
from app.services.model_lock import LOCK  # noqa: E402
from core.bundles import bundle  # noqa: E402

bundle.CHECKPOINTS = bundle.RUNS = Path("/nowhere")


def hold_lock() -> Any:
    """Let a thread hold the lock until the returned event is set; return the event."""
    taken, go = threading.Event(), threading.Event()

    def hold() -> None:
        with LOCK:
            taken.set()
            go.wait(120)

    threading.Thread(target=hold, daemon=True).start()
    taken.wait(60)
    return go


request = generation.text_request("a lake below mountains", "words", 1, 7)
go = hold_lock()
steps = list(generation.shown_steps(request))
go.set()
handle = priors.open_prior("planned", "semantic")
try:
    list(sampling.sample(handle, None, sampling.parse_settings(handle, steps=3)))
    refusal = ""
except UserError as error:
    refusal = str(error)
print(
    json.dumps(
        {
            "here": gpu.device(),
            "elsewhere": os.getpid() not in pids and len(pids) == 2,
            "asked": asked,
            "ids": steps[-1].ids.tolist(),
            "refusal": refusal,
        }
    )
)

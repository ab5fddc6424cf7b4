"""A Space on ZeroGPU, as far as one machine can be one: run by test_gpu.py in its own process.

The module ``spaces`` here does what the package does there: what is decorated runs in a forked
process, its arguments and results are pickled. The lock is held by another thread at that moment.
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
    """``spaces.GPU(duration=…)`` for generator functions."""

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
                finally:  # what was not caught there says here no more than that
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

from app.services import checkpoints as models  # noqa: E402
from app.services import generation, gpu, priors, sampling  # noqa: E402
from app.ui.errors import Refused  # noqa: E402
from core.bundles import bundle  # noqa: E402

bundle.CHECKPOINTS = bundle.RUNS = Path("/nowhere")


def held() -> Any:
    """The lock, held by a thread that does not let go until it is told."""
    taken, go = threading.Event(), threading.Event()

    def hold() -> None:
        with models.LOCK:
            taken.set()
            go.wait(120)

    threading.Thread(target=hold, daemon=True).start()
    taken.wait(60)
    return go


order = generation.text_order("a lake below mountains", "words", 1, 7)
go = held()
steps = list(generation.steps(order))
go.set()
known = priors.painter("planned", "semantic")
try:
    list(sampling.sample(known, None, sampling.settings(known, steps=3)))
    refusal = ""
except Refused as error:
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

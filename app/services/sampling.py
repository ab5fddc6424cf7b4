"""The settings of a prior's sampling, checked, and the steps that it takes.

Sampling holds ``model_lock.LOCK`` for one step at a time, so that the next run can start when a
user cancels one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .errors import UserError, without_paths
from .gpu import on_gpu
from .model_lock import LOCK
from .priors import PriorHandle
from .validation import MAX_SEED, number, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.conditions import Condition
    from regvq.priors import Step

MOST_PICTURES = 8


@dataclass(frozen=True)
class Settings:
    """The settings of a run; equal settings give equal pictures."""

    n: int
    seed: int
    guidance: float
    temperature: float
    top_k: int
    top_p: float
    steps: int | None

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture, which generates the same picture in a run of its own."""
        from regvq.priors.categorical import seeds

        return seeds(self.seed, self.n)


def defaults(handle: PriorHandle) -> dict[str, Any]:
    """Return the settings that the bundle recommends, and plain sampling for the others."""
    plain = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "steps": None}
    given = handle.bundle.config.get("sampling")
    given = given if isinstance(given, dict) else {}
    found = {name: given.get(name, value) for name, value in plain.items()}
    if isinstance(found["guidance"], list | tuple):  # a schedule: its last value is shown
        found["guidance"] = found["guidance"][-1]
    if handle.kind == "autoregressive":
        found["steps"] = None  # one step per token, which cannot be chosen
    return found


def parse_settings(
    handle: PriorHandle,
    n: Any = 1,
    seed: Any = 0,
    guidance: Any = None,
    temperature: Any = None,
    top_k: Any = None,
    top_p: Any = None,
    steps: Any = None,
) -> Settings:
    """Return a user's settings, None standing for the prior's own. Raises UserError."""
    own = defaults(handle)

    def given(value: Any, name: str) -> Any:
        return own[name] if value is None or value == "" else value

    found = {
        "n": whole_number(n, "number of pictures", 1, MOST_PICTURES),
        "seed": whole_number(seed, "seed", 0, MAX_SEED),
        "guidance": number(given(guidance, "guidance"), "guidance", 0, 20),
        "temperature": number(given(temperature, "temperature"), "temperature", 0, 10),
        "top_k": whole_number(given(top_k, "top_k"), "top-k", 0, 2**20),
        "top_p": number(given(top_p, "top_p"), "top-p", 0, 1),
        "steps": given(steps, "steps"),
    }
    if found["top_p"] == 0:
        raise UserError("The top-p must be above 0 and at most 1, not 0.")
    if found["steps"] is not None:
        found["steps"] = whole_number(found["steps"], "number of steps", 1, 2**14)
    return Settings(**found)


@on_gpu
def sample(
    handle: PriorHandle,
    condition: Condition | None,
    settings: Settings,
    known: Tensor | None = None,
) -> Iterator[Step]:
    """Yield the prior's steps, their ids on the CPU. Raises UserError at the first step for what
    the prior cannot do."""
    from regvq.priors.categorical import seeded

    how = {name: value for name, value in asdict(settings).items() if name not in ("n", "seed")}
    with LOCK:
        # Generators on the CPU draw the same numbers on whatever device the prior runs.
        noise = seeded(settings.seed, settings.n)
        with _as_user_error():
            steps = handle.prior.sample(condition, settings.n, generator=noise, known=known, **how)
    try:
        while True:
            with LOCK, _as_user_error():
                step = next(steps, None)
            if step is None:
                return
            layout = None if step.layout is None else step.layout.cpu()
            yield step._replace(ids=step.ids.cpu(), layout=layout)
    finally:
        steps.close()


@contextmanager
def _as_user_error() -> Iterator[None]:
    """Turn a prior's ValueError about unusable settings into a sentence for the user."""
    try:
        yield
    except ValueError as error:
        text = without_paths(str(error))
        words = text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
        raise UserError(words) from None

"""How a prior is sampled: a visitor's settings, checked, and the steps that they make.

Sampling holds ``models.LOCK`` step by step, so that a visitor's run that is cancelled lets the next
one begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..ui.errors import Refused
from . import checkpoints
from .checkpoints import LOCK
from .gpu import on_gpu
from .priors import Painter
from .reconstruction import MAX_SEED

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.conditions import Condition
    from regvq.priors import Step

MOST_PICTURES = 8


@dataclass(frozen=True)
class Settings:
    """How to sample. With the same ones, the same pictures are drawn."""

    n: int
    seed: int
    guidance: float
    temperature: float
    top_k: int
    top_p: float
    steps: int | None

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture, with which it is drawn again by itself."""
        from regvq.priors.categorical import seeds

        return seeds(self.seed, self.n)


def defaults(painter: Painter) -> dict[str, Any]:
    """How its bundle says that it is best sampled; what it does not say is plain sampling."""
    plain = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "steps": None}
    said = painter.bundle.config.get("sampling")
    said = said if isinstance(said, dict) else {}
    found = {name: said.get(name, value) for name, value in plain.items()}
    if isinstance(found["guidance"], list | tuple):  # one that grows: its end is what shows
        found["guidance"] = found["guidance"][-1]
    if painter.kind == "autoregressive":
        found["steps"] = None  # a step a token, which is no choice
    return found


def settings(
    painter: Painter,
    n: Any = 1,
    seed: Any = 0,
    guidance: Any = None,
    temperature: Any = None,
    top_k: Any = None,
    top_p: Any = None,
    steps: Any = None,
) -> Settings:
    """What a visitor asked for, None standing for the prior's own. Raises Refused."""
    usual = defaults(painter)

    def given(value: Any, name: str) -> Any:
        return usual[name] if value is None or value == "" else value

    count = checkpoints.whole_number(n, "number of pictures", 1, MOST_PICTURES)
    number = checkpoints.whole_number(seed, "seed", 0, MAX_SEED)
    stress = checkpoints.number(given(guidance, "guidance"), "guidance", 0, 20)
    heat = checkpoints.number(given(temperature, "temperature"), "temperature", 0, 10)
    few = checkpoints.whole_number(given(top_k, "top_k"), "top-k", 0, 2**20)
    mass = checkpoints.number(given(top_p, "top_p"), "top-p", 0, 1)
    if mass == 0:
        raise Refused("The top-p must be above 0 and at most 1, not 0.")
    walk = given(steps, "steps")
    if walk is not None:
        walk = checkpoints.whole_number(walk, "number of steps", 1, 2**14)
    return Settings(count, number, stress, heat, few, mass, walk)


@on_gpu
def sample(
    painter: Painter,
    condition: Condition | None,
    chosen: Settings,
    known: Tensor | None = None,
) -> Iterator[Step]:
    """The prior's steps, their ids on the processor. Raises Refused at the first one for what the
    prior cannot do."""
    from regvq.priors.categorical import seeded

    how = {name: value for name, value in asdict(chosen).items() if name not in ("n", "seed")}
    with LOCK:
        # The processor's generators draw the same numbers, wherever the prior lives.
        noise = seeded(chosen.seed, chosen.n)
        with _refusing():
            steps = painter.prior.sample(condition, chosen.n, generator=noise, known=known, **how)
    try:
        while True:
            with LOCK, _refusing():
                step = next(steps, None)
            if step is None:
                return
            layout = None if step.layout is None else step.layout.cpu()
            yield step._replace(ids=step.ids.cpu(), layout=layout)
    finally:
        steps.close()


@contextmanager
def _refusing() -> Iterator[None]:
    """What a prior says of values that it cannot use, as a sentence for the visitor."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        words = text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
        raise Refused(words) from None

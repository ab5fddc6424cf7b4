"""The collapse lab's runs: what a visitor chose, what trains for them, and what the page draws."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from ..ui.errors import Refused
from ..ui.pictures import packed
from . import checkpoints
from .reconstruction import MAX_SEED

if TYPE_CHECKING:
    from regvq.analysis.lab.pictures import SmallPictures
    from regvq.analysis.lab.training import InteractiveRun

NAMES = (
    "VQ", "EMA", "Gumbel", "Reg-VQ", "Reg-VQ without prior", "Reg-VQ without mask", "SimVQ", "NSVQ",
)  # fmt: skip
"""Those of ``core.analysis.lab.training.default_quantizers``, which would import torch."""
WATCH = {
    "VQ": "Only codes that are chosen move: the rest never catch up with the encoder.",
    "EMA": "Chosen codes follow their latents at once; one that is not chosen still stays behind.",
    "Gumbel": "Every token is drawn in training; watch how few codes win when none is.",
    "Reg-VQ": "The prior lights up every code; the tokens that are drawn cost accuracy at first.",
    "Reg-VQ without prior": "Tokens are drawn, yet nothing calls an unused code back.",
    "Reg-VQ without mask": "The prior alone fills the codebook; no token is drawn in training.",
    "SimVQ": "One linear layer moves all codes together, so the unused ones come along.",
    "NSVQ": "Every code is pulled to the latents near it, and dead ones are put on living ones.",
}
"""What to look for, a sentence each."""
KINDS = ("points", "pictures")
POINTS = ("moons", "clusters", "spiral")
SOURCES = ("scenes", "picture")
MOST = 6
"""Runs side by side."""
SIZES = (8, 256)
STEPS = {"points": 1500, "pictures": 1000}
EVERY = 15
"""Steps in one go, if time allows."""
BUDGET = 0.12
"""Seconds of training in one go; between two, other requests have their turn."""
LABS = 24
"""Labs that are kept at once; the one that was not asked for longest is let go."""


@dataclass(frozen=True)
class Made:
    """What a lab is made of: with another one it begins anew."""

    kind: str
    data: str
    """One of POINTS, ``scenes``, or the digest of the visitor's picture."""
    size: int
    names: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Weights:
    """What can be changed while it runs."""

    rate: float
    prior: float
    mask: float
    temperature: float
    alpha: float

    def of(self, name: str) -> dict[str, float]:
        """The settings that the quantizer ``name`` has, for ``InteractiveRun.change``."""
        own = {"rate": self.rate}
        if name.startswith("Reg-VQ"):
            own["prior_weight"] = 0.0 if name.endswith("prior") else self.prior
            own["mask_ratio"] = 0.0 if name.endswith("mask") else self.mask
        if name.startswith("Reg-VQ") or name == "Gumbel":
            own["temperature"] = self.temperature
        if name == "NSVQ":
            own["alpha"] = self.alpha
        return own


def made_of(
    kind: Any, points: Any, source: Any, image: Any, size: Any, names: Any, seed: Any
) -> Made:
    """What a visitor chose, checked. Raises Refused or PictureError."""
    if kind not in KINDS:
        raise Refused(f"The lab works on {' or '.join(KINDS)}, not on {str(kind)[:40]!r}.")
    if kind == "points" and points not in POINTS:
        raise Refused(f"The points must be one of {', '.join(POINTS)}, not {str(points)[:40]!r}.")
    if kind == "pictures" and source not in SOURCES:
        raise Refused(f"The pictures are {' or '.join(SOURCES)}, not {str(source)[:40]!r}.")
    if not isinstance(names, (list, tuple)) or not {str(name) for name in names} <= set(NAMES):
        raise Refused("There is no such quantizer in the lab.")
    if not 1 <= len(set(names)) <= MOST:
        raise Refused(f"The lab sets 1 to {MOST} quantizers side by side; choose so many.")
    data = points if kind == "points" else source
    return Made(
        kind,
        checkpoints.open_picture(image).digest if data == "picture" else data,
        checkpoints.whole_number(size, "number of codes", *SIZES),
        tuple(name for name in NAMES if name in names),
        checkpoints.whole_number(seed, "seed", 0, MAX_SEED - 4),
    )


def weights_of(rate: Any, prior: Any, mask: Any, temperature: Any, alpha: Any) -> Weights:
    """The weights to go on with, checked. Raises Refused."""
    return Weights(
        checkpoints.number(rate, "learning rate", 1e-5, 0.03),
        checkpoints.number(prior, "prior's weight", 0, 1),
        checkpoints.number(mask, "mask ratio", 0, 1),
        checkpoints.number(temperature, "temperature", 0.05, 5),
        checkpoints.number(alpha, "weight of the dense loss", 0, 1),
    )


class Lab:
    """One visitor's runs, side by side."""

    def __init__(self, made: Made, weights: Weights, pictures: SmallPictures | None = None) -> None:
        from regvq.analysis.lab.pictures import TinyConfig, TinyRun, sheet_of, tiny_quantizers
        from regvq.analysis.lab.points import LabConfig, PointsRun
        from regvq.analysis.lab.training import default_quantizers

        self.made, self.weights = made, weights
        self.steps = STEPS[made.kind]
        self.original: str | None = None
        self.apart = False  # whether the watched pictures are several
        self.runs: dict[str, InteractiveRun] = {}
        if pictures is None:
            known = default_quantizers(made.size)
            for name in made.names:
                config = LabConfig(known[name], data=made.data, seed=made.seed)
                self.runs[name] = PointsRun(config)
        else:
            known = tiny_quantizers(made.size)
            for name in made.names:
                self.runs[name] = TinyRun(TinyConfig(known[name], seed=made.seed), pictures)
            self.original = packed(sheet_of(pictures.watched), "u1")
            self.apart = len(pictures.watched) > 1
        self.weigh(weights)
        self.born = time.monotonic_ns()

    @property
    def step(self) -> int:
        """Steps that every run has done."""
        return next(iter(self.runs.values())).step

    def weigh(self, weights: Weights) -> None:
        """Weights from the next step on, for the runs whose parts they belong to."""
        self.weights = weights
        for name, run in self.runs.items():
            run.change(**weights.of(name))

    def advance(self, until: int | None = None) -> None:
        """Some steps of every run, as many of each, for as long as BUDGET lasts; not beyond step
        ``until``."""
        end = time.monotonic() + BUDGET
        last = self.steps if until is None else min(until, self.steps)
        for _ in range(min(EVERY, last - self.step)):
            for run in self.runs.values():
                run.train(self.steps)
            if time.monotonic() > end:
                return

    def value(self) -> dict[str, Any]:
        """What the page draws."""
        show = _points if self.original is None else _pictures
        runs = [
            {"name": name, "watch": WATCH[name], **show(run.look())}
            for name, run in self.runs.items()
        ]
        return {
            "kind": self.made.kind,
            "lab": self.born,
            "step": self.step,
            "steps": self.steps,
            "size": self.made.size,
            "original": self.original,
            "apart": self.apart,
            "weights": vars(self.weights),
            "runs": runs,
        }


def _points(frame: Any) -> dict[str, Any]:
    return {
        "latents": packed(frame.latents, "<f4"),
        "codes": packed(frame.codes, "<f4"),
        "ids": packed(frame.ids, "<u2"),
        "used": frame.used,
        "perplexity": frame.perplexity,
        "loss": frame.loss,
    }


def _pictures(frame: Any) -> dict[str, Any]:
    return {
        "sheet": packed(frame.sheet, "u1"),
        "paints": packed(frame.paints, "u1"),
        "ids": packed(frame.ids, "<u2"),
        "counts": packed(frame.counts, "<u4"),
        "used": frame.usage.utilization,
        "perplexity": frame.usage.perplexity,
        "psnr": frame.psnr,
    }


_DRAWING = threading.Lock()


@cache
def _scenes() -> SmallPictures:
    from regvq.analysis.lab.pictures import scenes

    return scenes()


def drawn_scenes() -> SmallPictures:
    """The lab's scenes, drawn once a process (a second or two); others wait for the first."""
    with _DRAWING:
        return _scenes()


@lru_cache(maxsize=8)
def _cut(picture: checkpoints.Picture) -> SmallPictures:
    from regvq.analysis.lab.pictures import patches
    from regvq.images import to_tensor

    return patches(to_tensor(picture.image))


def pictures_of(made: Made, image: Any) -> SmallPictures | None:
    """What a lab of small pictures learns from; None for points."""
    if made.kind == "points":
        return None
    return drawn_scenes() if made.data == "scenes" else _cut(checkpoints.open_picture(image))


_KEPT: OrderedDict[int, Lab] = OrderedDict()
_KEYS = itertools.count()


def kept(key: int | None) -> Lab | None:
    """The lab with this key, unless it was let go."""
    if key in _KEPT:
        _KEPT.move_to_end(key)
    return _KEPT.get(key)


def keep(key: int | None, lab: Lab) -> int:
    """Keep ``lab`` in the place of the one with this key; its key."""
    let_go(key)
    fresh = next(_KEYS)
    _KEPT[fresh] = lab
    while len(_KEPT) > LABS:
        _KEPT.popitem(last=False)
    return fresh


def let_go(key: int | None) -> None:
    """A visitor has left, or begins anew."""
    _KEPT.pop(key, None)

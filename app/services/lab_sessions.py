"""The sessions of the collapse lab: a user's choices, the training runs, and their view."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .cache import RecentItems
from .encoding import pack
from .errors import UserError
from .lab_data import training_pictures
from .model_lock import LOCK
from .uploads import open_picture
from .validation import MAX_SEED, number, whole_number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from regvq.analysis.lab.pictures import SmallPictures
    from regvq.analysis.lab.training import InteractiveRun

NAMES = (
    "VQ", "EMA", "Gumbel", "Reg-VQ", "Reg-VQ without prior", "Reg-VQ without mask", "SimVQ", "NSVQ",
    "BSQ", "DiVeQ", "FSP",
)  # fmt: skip
"""Those of ``core.analysis.lab.training.default_quantizers``, which would import torch."""
WATCH = {
    "VQ": "Only chosen codes move; the others never catch up with the encoder.",
    "EMA": "Chosen codes follow their latents at once; codes that are not chosen stay behind.",
    "Gumbel": "Every token is drawn in training; watch how few codes win without the draw.",
    "Reg-VQ": "The prior brings every code into use; the drawn tokens cost accuracy at first.",
    "Reg-VQ without prior": "Tokens are drawn, but nothing brings an unused code back.",
    "Reg-VQ without mask": "The prior alone fills the codebook; no token is drawn in training.",
    "SimVQ": "One linear layer moves all codes together, so unused codes move as well.",
    "NSVQ": "Every code is pulled to the latents near it; dead codes are moved onto live ones.",
    "BSQ": "A code is a set of signs, and none is learned; the entropy loss spreads the latents.",
    "DiVeQ": "No loss but the reconstruction's; every 100 steps unused codes move onto live ones.",
    "FSP": "A fixed grid: latents are moved at random in training and rounded when you look.",
}
"""One sentence per quantizer on what to look for."""
KINDS = ("points", "pictures")
POINTS = ("moons", "clusters", "spiral")
SOURCES = ("scenes", "picture")
MOST = 6
"""Runs side by side."""
SIZES = (8, 256)
STEPS = {"points": 1500, "pictures": 1000}
EVERY = 15
"""Training steps per request, if the time is enough."""
BUDGET = 0.12
"""Seconds of training per request; other requests run in between."""
SESSIONS = 24
"""Sessions that are kept; the one that was used least recently is dropped."""


@dataclass(frozen=True)
class LabSpec:
    """The choices that need a new session when they change."""

    kind: str
    data: str
    """One of POINTS, ``scenes``, or the digest of the user's picture."""
    size: int
    names: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class LabSettings:
    """The settings that can be changed during training."""

    rate: float
    prior: float
    mask: float
    temperature: float
    alpha: float

    def of(self, name: str) -> dict[str, float]:
        """Return the settings that the quantizer ``name`` has, for ``InteractiveRun.change``."""
        own = {"rate": self.rate}
        if name.startswith("Reg-VQ"):
            own["prior_weight"] = 0.0 if name.endswith("prior") else self.prior
            own["mask_ratio"] = 0.0 if name.endswith("mask") else self.mask
        if name.startswith("Reg-VQ") or name == "Gumbel":
            own["temperature"] = self.temperature
        if name == "NSVQ":
            own["alpha"] = self.alpha
        return own


def parse_spec(
    kind: Any, points: Any, source: Any, image: Any, size: Any, names: Any, seed: Any
) -> LabSpec:
    """Return a user's choices, checked. Raises UserError or PictureError."""
    if kind not in KINDS:
        raise UserError(f"The lab trains on {' or '.join(KINDS)}, not on {str(kind)[:40]!r}.")
    if kind == "points" and points not in POINTS:
        raise UserError(f"The points must be one of {', '.join(POINTS)}, not {str(points)[:40]!r}.")
    if kind == "pictures" and source not in SOURCES:
        raise UserError(f"The pictures must be {' or '.join(SOURCES)}, not {str(source)[:40]!r}.")
    if not isinstance(names, (list, tuple)) or not {str(name) for name in names} <= set(NAMES):
        raise UserError(f"There is no such quantizer in the lab; available: {', '.join(NAMES)}.")
    count = len(set(names))
    if not 1 <= count <= MOST:
        raise UserError(f"The lab trains 1 to {MOST} quantizers side by side, not {count}.")
    data = points if kind == "points" else source
    return LabSpec(
        kind,
        open_picture(image).digest if data == "picture" else data,
        whole_number(size, "number of codes", *SIZES),
        tuple(name for name in NAMES if name in names),
        whole_number(seed, "seed", 0, MAX_SEED - 4),
    )


def parse_settings(rate: Any, prior: Any, mask: Any, temperature: Any, alpha: Any) -> LabSettings:
    """Return the settings for the next steps, checked. Raises UserError."""
    return LabSettings(
        number(rate, "learning rate", 1e-5, 0.03),
        number(prior, "weight of the prior", 0, 1),
        number(mask, "mask ratio", 0, 1),
        number(temperature, "temperature", 0.05, 5),
        number(alpha, "weight of the dense loss", 0, 1),
    )


CURVES: dict[str, tuple[str, float]] = {
    "used": ("codes in use, %", 100.0),
    "perplexity": ("perplexity", 1.0),
    "psnr": ("PSNR, dB", 1.0),
}
"""The figures that are drawn by step: title, and the factor of their values."""
MOST_POINTS = 200
"""Points of a curve; of a longer one, every second point is kept."""
MOST_CHANGES = 100
"""Changes of settings that are marked in the curves; later ones take effect without a mark."""
SETTINGS = 5
"""The number of inputs of ``parse_settings``, the last ones of a session's inputs."""


class LabSession:
    """One user's training runs, side by side."""

    def __init__(
        self, spec: LabSpec, settings: LabSettings, pictures: SmallPictures | None = None
    ) -> None:
        from regvq.analysis.lab.pictures import TinyConfig, TinyRun, sheet_of, tiny_quantizers
        from regvq.analysis.lab.points import LabConfig, PointsRun
        from regvq.analysis.lab.training import default_quantizers

        self.spec, self.settings = spec, settings
        self.steps = STEPS[spec.kind]
        self.original: str | None = None
        self.several = False  # True if the shown pictures are several, not one in parts
        self.runs: dict[str, InteractiveRun] = {}
        if pictures is None:
            known = default_quantizers(spec.size)
            for name in spec.names:
                config = LabConfig(known[name], data=spec.data, seed=spec.seed)
                self.runs[name] = PointsRun(config)
        else:
            known = tiny_quantizers(spec.size)
            for name in spec.names:
                self.runs[name] = TinyRun(TinyConfig(known[name], seed=spec.seed), pictures)
            self.original = pack(sheet_of(pictures.watched), "u1")
            self.several = len(pictures.watched) > 1
        self.history: list[tuple[int, dict[str, dict[str, float]]]] = []
        """Each watched step, and the figures of each quantizer at it."""
        self.changes: list[tuple[int, str]] = []
        """The steps at which settings were changed, and the new ones in words."""
        self._apply(settings)
        self.born = time.monotonic_ns()

    @property
    def step(self) -> int:
        """The number of steps that every run has done."""
        return next(iter(self.runs.values())).step

    def apply_settings(self, settings: LabSettings) -> None:
        """Use these settings from the next step on."""
        changed = [
            f"{name} {value:g}"
            for name, value in vars(settings).items()
            if value != getattr(self.settings, name)
        ]
        if changed and self.step and len(self.changes) < MOST_CHANGES:
            self.changes.append((self.step, ", ".join(changed)))
        self._apply(settings)

    def _apply(self, settings: LabSettings) -> None:
        self.settings = settings
        for name, run in self.runs.items():
            run.change(**settings.of(name))

    def advance(self, until: int | None = None) -> None:
        """Train every run for the same number of steps: EVERY, or fewer if BUDGET is used up, and
        not beyond step ``until``."""
        end = time.monotonic() + BUDGET
        last = self.steps if until is None else min(until, self.steps)
        for _ in range(min(EVERY, last - self.step)):
            for run in self.runs.values():
                run.train(self.steps)
            if time.monotonic() > end:
                return

    def view(self) -> dict[str, Any]:
        """Return what the page draws."""
        run_view = _points_view if self.original is None else _pictures_view
        runs = [
            {
                "name": name,
                "watch": WATCH[name],
                "size": run.quantizer.size,
                **run_view(run.look()),
            }
            for name, run in self.runs.items()
        ]
        self._remember(runs)
        return {
            "kind": self.spec.kind,
            "lab": self.born,
            "step": self.step,
            "steps": self.steps,
            "size": self.spec.size,
            "original": self.original,
            "several": self.several,
            "weights": vars(self.settings),
            "runs": runs,
        }

    def _remember(self, runs: list[dict[str, Any]]) -> None:
        if self.history and self.history[-1][0] == self.step:
            return
        figures = {run["name"]: {name: run[name] for name in CURVES if name in run} for run in runs}
        self.history.append((self.step, figures))
        if len(self.history) > 2 * MOST_POINTS:
            del self.history[1::2]

    def curves(self) -> dict[str, Any]:
        """Return the charts of the watched figures by their names in CURVES; None for one that
        these quantizers do not have."""
        steps = [step for step, _ in self.history]
        found: dict[str, Any] = {}
        for key in CURVES:
            lines = {
                name: [figures[name][key] for _, figures in self.history]
                for name in self.runs
                if self.history and key in self.history[0][1][name]
            }
            found[key] = curve(key, steps, lines, self.spec.size, self.changes) if lines else None
        return found


def curve(
    key: str,
    steps: Sequence[int],
    lines: Mapping[str, Sequence[float]],
    size: int,
    changes: Sequence[tuple[int, str]] = (),
) -> Figure:
    """Return the chart of a figure of CURVES by step, a line per quantizer, of ``size`` codes."""
    from regvq.plots import plot_lab

    title, scale = CURVES[key]
    scaled = {name: [scale * value for value in values] for name, values in lines.items()}
    span = {"used": (-2.0, 103.0), "perplexity": (0.0, 1.03 * size)}.get(key)
    return plot_lab(steps, scaled, title, span=span, changes=changes)


def _points_view(frame: Any) -> dict[str, Any]:
    return {
        "latents": pack(frame.latents, "<f4"),
        "codes": pack(frame.codes, "<f4"),
        "ids": pack(frame.ids, "<u2"),
        "used": frame.used,
        "perplexity": frame.perplexity,
        "loss": frame.loss,
    }


def _pictures_view(frame: Any) -> dict[str, Any]:
    return {
        "sheet": pack(frame.sheet, "u1"),
        "paints": pack(frame.paints, "u1"),
        "ids": pack(frame.ids, "<u2"),
        "counts": pack(frame.counts, "<u4"),
        "used": frame.usage.utilization,
        "perplexity": frame.usage.perplexity,
        "psnr": frame.psnr,
    }


# ---------------------------------------------------------------- sessions by key

_sessions: RecentItems[int, LabSession] = RecentItems(SESSIONS)
_keys = itertools.count()


def find_session(key: int | None) -> LabSession | None:
    """Return the session with this key, unless it was dropped."""
    return None if key is None else _sessions.touch(key)


def store_session(key: int | None, session: LabSession) -> int:
    """Keep ``session`` in the place of the one with this key; return its own key."""
    discard(key)
    new = next(_keys)
    _sessions[new] = session
    return new


def discard(key: int | None) -> None:
    """Drop a session whose user has left or starts a new one."""
    _sessions.pop(key, None)


def answer(
    how: str, number: Any, key: int | None, *inputs: Any
) -> tuple[int | None, dict[str, Any], dict[str, Any]]:
    """Return a session's key, what the page draws of it, and its curves (none after an error).

    ``how``: "tick" trains some more steps, "look" leaves the session as it is, "restart" makes a
    new one; each makes a new one if the choices have changed. ``inputs`` are those of
    ``parse_spec`` and of ``parse_settings``. ``number`` identifies the page's request and is
    returned with the answer.
    """
    from regvq.errors import PictureError

    try:
        spec = parse_spec(*inputs[:-SETTINGS])
        settings = parse_settings(*inputs[-SETTINGS:])
        pictures = training_pictures(spec.kind, spec.data, inputs[3])
    except (UserError, PictureError) as error:
        return key, {"sentence": str(error), "number": number}, {}
    if how == "tick":
        # The first optimizer imports this module, and that must not happen under the lock.
        import torch._dynamo  # noqa: F401
    with LOCK:
        session = find_session(key)
        if how == "restart" or session is None or session.spec != spec:
            session = LabSession(spec, settings, pictures)
            key = store_session(key, session)
        elif how == "tick":
            session.apply_settings(settings)
            session.advance()
        view = {**session.view(), "number": number}
    return key, view, session.curves()

"""Priors by name: which there are, and what each is told.

A prior is chosen from the list of bundles; its tokenizer is found by fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ui.errors import Refused
from . import checkpoints
from .checkpoints import LOCK, Model
from .gpu import device

if TYPE_CHECKING:
    import numpy as np

    from regvq.bundles.bundle import Bundle
    from regvq.priors import Prior, PriorConfig

WAYS = ("text", "semantic", "complete")
"""What a prior can be asked for: a picture of a prompt, of a painted map, the rest of a picture."""
MOST_WORDS = 200
"""A longer prompt is no description of a picture, and no prior reads so much."""
TRAINED = "python train/run.py scenes-text-diffusion"
"""The command that a visitor is told where there is no prior yet."""
WELCOME = {"text": "scenes-text-diffusion", "semantic": "scenes-semantic-ar"}
"""The priors that Generate opens with, where they are there: their data is drawn by the project, so
they saw as much of it as they could learn, and prompts and maps to start from are at hand."""


@dataclass(frozen=True)
class Painter:
    """A prior's bundle. Two are equal if they are the same files, unchanged."""

    name: str
    written: int
    """When its weights were written (ns)."""
    bundle: Bundle = field(compare=False, repr=False)

    @property
    def told(self) -> tuple[str, ...]:
        """The names of its conditions: "text", "semantic", "label"."""
        described = self.bundle.config.get("prior", {}).get("conditions", [])
        return tuple(str(each.get("name")) for each in described)

    @property
    def kind(self) -> str:
        """Its name in ``core.priors.PRIORS``."""
        return str(self.bundle.config.get("prior", {}).get("name", ""))

    @property
    def data(self) -> dict[str, Any]:
        """What it was trained on: "name", "classes", "palette"."""
        found = self.bundle.config.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def mark(self) -> str:
        """The fingerprint of its tokenizer."""
        about = self.bundle.config.get("tokenizer")
        return str(about.get("fingerprint", "")) if isinstance(about, dict) else ""

    @property
    def ways(self) -> tuple[str, ...]:
        """Those of WAYS that it can be used in."""
        drawn = self.kind != "latent"  # latents have no ids that could be kept
        can = {"text": "text" in self.told, "semantic": "semantic" in self.told, "complete": drawn}
        return tuple(way for way in WAYS if can[way])

    @property
    def prior(self) -> Prior:
        """The prior, loaded at first use."""
        return _prior(self, device())

    @property
    def config(self) -> PriorConfig:
        """What the prior is, without loading it. Raises CheckpointError."""
        return _config(self)

    @property
    def model(self) -> Model:
        """Its tokenizer. Raises CheckpointError if it is not there or another one."""
        return _model(self)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of what it paints."""
        f = self.model.tokenizer.downsampling
        rows, columns = self.config.grid
        return columns * f, rows * f


@lru_cache(maxsize=16)
def _open(name: str, written: int, path: Path) -> Painter:
    from regvq.bundles.bundle import Bundle

    return Painter(name, written, Bundle(name, path))


@lru_cache(maxsize=3)
def _prior(painter: Painter, where: str) -> Prior:
    from regvq.checkpoints import load_prior

    return load_prior(painter.bundle, where)


@lru_cache(maxsize=16)
def _config(painter: Painter) -> PriorConfig:
    from regvq.priors import prior_config

    return prior_config(painter.bundle.config.get("prior"), painter.bundle.path / "config.json")


@lru_cache(maxsize=16)
def _model(painter: Painter) -> Model:
    from regvq.checkpoints import prior_tokenizer
    from regvq.errors import CheckpointError

    found = prior_tokenizer(painter.bundle)
    model = checkpoints.open_bundle(found)
    codes = getattr(painter.config, "codebook_size", model.tokenizer.codebook_size)
    if codes != model.tokenizer.codebook_size:
        raise CheckpointError(
            f"the prior {painter.name} draws {codes:,} codes and its tokenizer {found.name} has "
            f"{model.tokenizer.codebook_size:,}; they do not fit."
        )
    return model


def painters() -> list[Painter]:
    """All priors that can be read, shipped ones first."""
    from regvq.bundles.bundle import list_bundles
    from regvq.errors import CheckpointError

    found = []
    for bundle in list_bundles(kind="prior"):
        painter = _open(bundle.name, checkpoints.written(bundle), bundle.path)
        try:
            if painter.kind and painter.ways:
                found.append(painter)
        except (CheckpointError, AttributeError, TypeError):
            continue  # a bundle that cannot be read is not offered
    return sorted(found, key=lambda painter: (painter.name.startswith("runs/"), painter.name))


def fitting(way: str) -> list[Painter]:
    """The priors that can be used in this way: the one that a visitor meets first, then those that
    are made for it."""

    def order(painter: Painter) -> tuple[bool, bool, bool, int]:
        others = 0 if way == "complete" else len(painter.told)
        known = painter.name == WELCOME.get(way)
        # In a hole an autoregressive prior sees nothing of what comes after it.
        worse = "autoregressive" if way == "complete" else "latent"
        return painter.name.startswith("runs/"), painter.kind == worse, not known, others

    return sorted((each for each in painters() if way in each.ways), key=order)


def names(way: str) -> list[str]:
    """Their names."""
    return [painter.name for painter in fitting(way)]


def painter(name: Any, way: str) -> Painter:
    """The prior called ``name`` (none: the first) if it can be used in this way, or Refused."""
    every, able = painters(), fitting(way)
    if not able:
        raise Refused(f"There is no prior for this yet: train one with `{TRAINED}`.")
    if name is None or name == "":
        return able[0]
    for each in able:
        if each.name == name:
            return each
    offered = ", ".join(each.name for each in able)
    if any(each.name == name for each in every):
        taken = {
            "text": "is not told by words",
            "semantic": "is not told by maps",
            "complete": "draws latents, not tokens, and so keeps none",
        }
        raise Refused(f"The prior {name} {taken[way]}; {offered} can do this.")
    raise Refused(f"There is no prior called {str(name)[:60]!r}; there is {offered}.")


# ---------------------------------------------------------------- what it is told


def told_by_text(painter: Painter, prompt: Any, needed: bool = True) -> tuple[str, str]:
    """A prompt as it can be used, and a note on what is not taken in of it. Raises Refused."""
    # Half of a surrogate pair is no letter, and no answer could hold it.
    text = " ".join(str(prompt or "").encode("utf-8", "replace").decode().split())
    if not text:
        if needed:
            raise Refused("The prompt is empty: say in a few words what is to be seen.")
        return "", ""
    count = len(text.split())
    if count > MOST_WORDS or len(text) > 20 * MOST_WORDS:
        raise Refused(
            f"The prompt has {count:,} words and {len(text):,} letters; at most {MOST_WORDS} words "
            "are read, and a sentence is enough."
        )
    with LOCK:
        reading = painter.prior.conditioner.coverage(text)
    if reading.kept == reading.unknown:
        raise Refused(
            f"The prior {painter.name} knows nothing of what “{text[:60]}” is made of; it was "
            "trained on captions such as those beside the prompt."
        )
    notes = []
    if not reading.whole:
        notes.append(f"Only the first {reading.kept} tokens of the prompt are read.")
    if reading.unknown:
        notes.append("Some of its words are unknown to this prior, which passes over them.")
    return text, " ".join(notes)


def paints(painter: Painter) -> np.ndarray:
    """What each code of the tokenizer paints alone, uint8 (K, f, f, 3)."""
    return _paints(painter.model)


@lru_cache(maxsize=4)
def _paints(model: Model) -> np.ndarray:
    from regvq.analysis.codes import paint_codes

    known = model.bundle.atlas.get("paints")
    if known is not None and len(known) == model.tokenizer.codebook_size:
        return known
    return paint_codes(model.tokenizer, range(model.tokenizer.codebook_size))

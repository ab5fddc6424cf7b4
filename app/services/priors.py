"""Priors by name: the available ones, what each is conditioned on, and prompts for them.

A prior is chosen from the list of bundles; its tokenizer is found by fingerprint.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import checkpoints
from .checkpoints import TokenizerHandle
from .code_atlas import UNKNOWN
from .code_stats import atlas
from .errors import UserError
from .gpu import device
from .idle import run_when_idle
from .memory import keep_what_is_loaded
from .model_lock import LOCK

if TYPE_CHECKING:
    import numpy as np

    from regvq.bundles.bundle import Bundle
    from regvq.priors import Prior, PriorConfig

log = logging.getLogger("regvq.app")

MODES = ("text", "label", "semantic", "complete")
"""The uses of a prior: text to image, class to image, semantic map to image, inpainting."""
TILE_SECONDS = 0.3
"""Seconds in which missing tiles are painted for the preview of an unfinished picture."""
MAX_WORDS = 200
"""A longer prompt does not describe a picture, and no prior reads so many tokens."""
TRAIN_RECIPE = "scenes-text-diffusion"
"""The recipe that a page without priors recommends."""
DEFAULT = {
    "text": "scenes-text-diffusion",
    "label": "imagenette-class-masked",
    "semantic": "scenes-semantic-ar",
}
"""The priors that Generate opens with if they are available. The training data of those for text
and maps is drawn by this project, so it was unlimited, and example prompts and maps can be drawn
here."""


@dataclass(frozen=True)
class PriorHandle:
    """A prior's bundle. Two handles are equal if they name the same unchanged files."""

    name: str
    written: int
    """The time at which the weights were written (ns)."""
    bundle: Bundle = field(compare=False, repr=False)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the prior's conditions: "text", "semantic", "label"."""
        described = self.bundle.config.get("prior", {}).get("conditions", [])
        return tuple(str(each.get("name")) for each in described)

    @property
    def kind(self) -> str:
        """The prior's name in ``core.priors.PRIORS``."""
        return str(self.bundle.config.get("prior", {}).get("name", ""))

    @property
    def data(self) -> dict[str, Any]:
        """The training data: "name", "classes", "palette"."""
        found = self.bundle.config.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes that the prior is conditioned on; () without such a condition.

        A bundle that does not name them has numbers.
        """
        described = self.bundle.config.get("prior", {}).get("conditions", [])
        count = next(
            (each.get("classes", 0) for each in described if each.get("name") == "label"), 0
        )
        named = self.data.get("labels")
        if isinstance(named, list) and len(named) == count:
            return tuple(map(str, named))
        return tuple(f"class {number}" for number in range(int(count)))

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the prior's tokenizer."""
        about = self.bundle.config.get("tokenizer")
        return str(about.get("fingerprint", "")) if isinstance(about, dict) else ""

    @property
    def modes(self) -> tuple[str, ...]:
        """Those of MODES that the prior can be used in."""
        keeps_tokens = self.kind != "latent"  # latents have no ids that could be kept
        able = {
            "text": "text" in self.conditions,
            "label": "label" in self.conditions,
            "semantic": "semantic" in self.conditions,
            "complete": keeps_tokens,
        }
        return tuple(mode for mode in MODES if able[mode])

    @property
    def prior(self) -> Prior:
        """The prior, loaded at first use."""
        return _load(self, device())

    @property
    def config(self) -> PriorConfig:
        """The prior's configuration, without loading the prior. Raises CheckpointError."""
        return _config(self)

    @property
    def tokenizer_handle(self) -> TokenizerHandle:
        """The prior's tokenizer. Raises CheckpointError if it is missing or has changed."""
        return _tokenizer_handle(self)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the generated pictures."""
        f = self.tokenizer_handle.tokenizer.downsampling
        rows, columns = self.config.grid
        return columns * f, rows * f


@lru_cache(maxsize=16)
def _open(name: str, written: int, path: Path) -> PriorHandle:
    from regvq.bundles.bundle import Bundle

    return PriorHandle(name, written, Bundle(name, path))


@lru_cache(maxsize=3)
def _load(handle: PriorHandle, where: str) -> Prior:
    from regvq.checkpoints import load_prior

    return load_prior(handle.bundle, where)


@lru_cache(maxsize=16)
def _config(handle: PriorHandle) -> PriorConfig:
    from regvq.priors import prior_config

    return prior_config(handle.bundle.config.get("prior"), handle.bundle.path / "config.json")


@lru_cache(maxsize=16)
def _tokenizer_handle(handle: PriorHandle) -> TokenizerHandle:
    from regvq.checkpoints import prior_tokenizer
    from regvq.errors import CheckpointError

    found = prior_tokenizer(handle.bundle)
    tokenizer = checkpoints.open_bundle(found)
    codes = getattr(handle.config, "codebook_size", tokenizer.tokenizer.codebook_size)
    if codes != tokenizer.tokenizer.codebook_size:
        raise CheckpointError(
            f"the prior {handle.name} has {codes:,} codes and its tokenizer {found.name} has "
            f"{tokenizer.tokenizer.codebook_size:,}; they do not fit."
        )
    return tokenizer


# ---------------------------------------------------------------- choosing


def all_priors() -> list[PriorHandle]:
    """Return every readable prior, shipped ones first."""
    from regvq.bundles.bundle import list_bundles
    from regvq.errors import CheckpointError

    found = []
    for bundle in list_bundles(kind="prior"):
        handle = _open(bundle.name, checkpoints.written_at(bundle), bundle.path)
        try:
            if handle.kind and handle.modes:
                found.append(handle)
        except (CheckpointError, AttributeError, TypeError):
            continue  # an unreadable bundle is not listed
    return sorted(found, key=lambda handle: (handle.name.startswith("runs/"), handle.name))


def priors_for(mode: str) -> list[PriorHandle]:
    """Return the priors usable in ``mode``: the default first, then those made for this mode."""

    def order(handle: PriorHandle) -> tuple[bool, bool, bool, int]:
        further = 0 if mode == "complete" else len(handle.conditions)
        is_default = handle.name == DEFAULT.get(mode)
        # For inpainting an autoregressive prior does not see the tokens after the hole.
        worse = "autoregressive" if mode == "complete" else "latent"
        last = handle.name.startswith("runs/") or handle.bundle.config["prior"].get("levels", 1) > 1
        return last, handle.kind == worse, not is_default, further

    return sorted((each for each in all_priors() if mode in each.modes), key=order)


def names(mode: str) -> list[str]:
    """Return the names of the priors usable in ``mode``."""
    return [handle.name for handle in priors_for(mode)]


def inpainting_names(fingerprint: str) -> list[str]:
    """Return the priors that inpaint in the tokens of the tokenizer with this fingerprint."""
    return [each.name for each in priors_for("complete") if each.fingerprint == fingerprint]


def open_prior(name: Any, mode: str) -> PriorHandle:
    """Return the prior called ``name``, the first one without a name. Raises UserError if it is
    missing or not usable in ``mode``."""
    usable = priors_for(mode)
    if not usable:
        command = checkpoints.train_command(TRAIN_RECIPE)
        raise UserError(f"There is no prior for this yet: train one with `{command}`.")
    if name is None or name == "":
        return _one_level(usable[0])
    for each in usable:
        if each.name == name:
            return _one_level(each)
    offered = ", ".join(each.name for each in usable)
    if any(each.name == name for each in all_priors()):
        reason = {
            "text": "is not conditioned on text",
            "label": "is not conditioned on classes",
            "semantic": "is not conditioned on semantic maps",
            "complete": "generates latents, not tokens, and so cannot keep any",
        }
        raise UserError(f"The prior {name} {reason[mode]}; usable here: {offered}.")
    raise UserError(f"There is no prior called {str(name)[:60]!r}; available: {offered}.")


def _one_level(handle: PriorHandle) -> PriorHandle:
    """Return the prior. Raises UserError if it draws several ids per position."""
    levels = handle.bundle.config.get("prior", {}).get("levels", 1)
    if levels != 1:
        raise UserError(
            f"The prior {handle.name} draws {levels} ids per position, which this page does not "
            "show; sample it in Python with regvq.load_prior."
        )
    return handle


@lru_cache(maxsize=8)
def preload_prior(handle: PriorHandle) -> None:
    """Load a prior once, as soon as the server is idle: its user is still typing a prompt."""
    run_when_idle(lambda: load_text_prior(handle), f"prior {handle.name}")


def load_text_prior(handle: PriorHandle) -> None:
    """Load a text-conditioned prior and its text encoder; log what goes wrong."""
    from regvq.conditions import import_open_clip

    try:
        import_open_clip()  # without the lock: it takes seconds and runs no model
        keep_what_is_loaded()
        with LOCK:
            _ = handle.prior
    except Exception:  # the user who asks for a picture gets the message
        log.exception("The prior %s could not be loaded", handle.name)


# ---------------------------------------------------------------- prompts and tiles


def clean_prompt(handle: PriorHandle, prompt: Any, required: bool = True) -> tuple[str, str]:
    """Return a prompt in the form that is encoded, and a note on the part that is ignored.

    Raises UserError for a prompt that is empty (if ``required``), too long or unknown.
    """
    # Half of a surrogate pair is not a letter, and JSON could not hold it.
    text = " ".join(str(prompt or "").encode("utf-8", "replace").decode().split())
    if not text:
        if required:
            raise UserError("The prompt is empty: describe the picture in a few words.")
        return "", ""
    count = len(text.split())
    if count > MAX_WORDS or len(text) > 20 * MAX_WORDS:
        raise UserError(
            f"The prompt has {count:,} words and {len(text):,} letters; at most {MAX_WORDS} words "
            "are read, and one sentence is enough."
        )
    with LOCK:
        reading = handle.prior.conditioner.coverage(text)
    if reading.kept == reading.unknown:
        raise UserError(
            f"The prior {handle.name} knows none of the words in “{text[:60]}”; it was trained on "
            "captions like the examples below the prompt."
        )
    notes = []
    if not reading.whole:
        notes.append(f"Only the first {reading.kept} tokens of the prompt are read.")
    if reading.unknown:
        notes.append("Some words are unknown to this prior and are ignored.")
    return text, " ".join(notes)


def code_tiles(handle: PriorHandle, codes: np.ndarray) -> np.ndarray:
    """Return the tiles of some codes, uint8 (n, f, f, 3): gray if there is no time to paint one."""
    known = atlas(handle.tokenizer_handle)
    tiles = known.look(codes, TILE_SECONDS)
    tiles[~known.painted[codes]] = UNKNOWN
    return tiles

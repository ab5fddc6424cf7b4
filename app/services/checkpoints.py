"""Tokenizers by name.

A browser sends a name from the list, never a path. Everything that runs a model holds
``model_lock.LOCK``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from regvq.bundles.sources import VARIABLE
from regvq.paths import IN_TREE

from .cache import RecentItems
from .errors import UserError
from .gpu import device
from .precision import quicken
from .validation import whole_number

if TYPE_CHECKING:
    from regvq.bundles.bundle import Bundle
    from regvq.tokenizer import Tokenizer

DEFAULT = "photos-regvq"
"""The checkpoint that the explorer opens with if it is available: it suits any photograph."""


def train_command(recipe: str) -> str:
    """Return the command that trains a recipe: in the source tree, or of an installed package."""
    return f"python train/run.py {recipe}" if IN_TREE else f"regvq-train {recipe}"


def no_checkpoint_text() -> str:
    """Return the sentence for an explorer without any tokenizer."""
    return (
        f"No checkpoint is available yet. Train one ({train_command(DEFAULT)}), or name a folder "
        f"or a repository of the Hugging Face Hub in {VARIABLE} and start again."
    )


def names() -> list[str]:
    """Return the names of the tokenizers that can be chosen.

    They come from folders, from the Hub (``user/name``) and from ``runs/``. ``DEFAULT`` is first,
    then the Reg-VQ tokenizers, the project's subject.
    """
    from regvq.bundles.bundle import list_bundles
    from regvq.errors import CheckpointError

    found = []
    for one in list_bundles():
        try:
            if one.config.get("kind") == "tokenizer":
                found.append(one.name)
        except CheckpointError:
            continue  # an unreadable bundle is not listed

    def order(name: str) -> tuple[bool, bool, bool, bool, str]:
        return name.startswith("runs/"), "/" in name, name != DEFAULT, "regvq" not in name, name

    return sorted(found, key=order)


def bundle(name: Any) -> Bundle:
    """Return the bundle called ``name``. Raises UserError for a name that is not in the list."""
    from regvq.bundles.bundle import list_bundles

    known = names()
    if not isinstance(name, str) or name not in known:
        if not known:
            raise UserError(no_checkpoint_text())
        raise UserError(
            f"There is no checkpoint called {str(name)[:60]!r}; available: {', '.join(known)}."
        )
    return next(one for one in list_bundles() if one.name == name)


# ---------------------------------------------------------------- levels


def split_level(name: Any) -> tuple[Any, int | None]:
    """Return the checkpoint and the level (from 1) of a name such as "photos-rvq#2"; None for a
    name without a level."""
    if isinstance(name, str) and (found := _LEVEL.fullmatch(name)) and name not in names():
        return found[1], int(found[2])
    return name, None


_LEVEL = re.compile(r"(.+)#(\d{1,4})")


def levels_of(found: Bundle) -> int:
    """Return the number of ids per position of a tokenizer, read from its config."""
    levels = found.config.get("tokenizer", {}).get("levels", {})
    return int(levels.get("residual", 1)) * int(levels.get("groups", 1))


def level_choices(name: Any) -> list[tuple[str, str]]:
    """Return the levels of a checkpoint, as titles and names; of one with a single level, its own
    name. Nothing for a name that is not in the list."""
    if not isinstance(name, str) or name not in names():
        return []
    count = levels_of(bundle(name))
    if count == 1:
        return [("1", name)]
    return [(f"{level} of {count}", f"{name}#{level}") for level in range(1, count + 1)]


def at_level(name: Any, level: Any) -> Any:
    """Return the name of a level (from 1) of a checkpoint; without one, or for 0, the name."""
    if level is None or level == "" or level == 0:
        return name
    return f"{split_level(name)[0]}#{whole_number(level, 'level', 1, 9999)}"


@dataclass(frozen=True)
class TokenizerHandle:
    """A tokenizer's checkpoint. Two handles are equal if they name the same unchanged files."""

    name: str
    written: int
    """The time at which the weights were written (ns): a run that is still training is reloaded."""
    bundle: Bundle = field(compare=False, repr=False)
    level: int | None = None
    """The level (from 1) that is looked at; None if the checkpoint has only one."""

    @cached_property
    def channels(self) -> int:
        """The channels of its pictures; the tokenizer is not loaded for it."""
        described = self.bundle.config.get("tokenizer")
        found = described.get("channels", 3) if isinstance(described, dict) else 3
        return found if isinstance(found, int) else 3

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, loaded at first use; of a level, its ``LevelView``."""
        if self.level is None:
            return _load(self, device())
        from regvq.analysis.level_view import LevelView

        return cast("Tokenizer", LevelView(self.whole, self.level - 1))

    @property
    def whole(self) -> Tokenizer:
        """The tokenizer with all its levels."""
        return _load(self.all_levels, device())

    @property
    def all_levels(self) -> TokenizerHandle:
        """The handle of the checkpoint itself."""
        found = self.bundle.name
        return self if self.level is None else replace(self, name=found, level=None)

    @property
    def shown_levels(self) -> int:
        """The number of levels that a picture is decoded from: up to the one looked at."""
        return self.level or 1


@lru_cache(maxsize=16)
def _open(name: str, written: int, path: Path) -> TokenizerHandle:
    from regvq.bundles.bundle import Bundle

    return TokenizerHandle(name, written, Bundle(name, path))


@lru_cache(maxsize=6)  # as many as the tab Compare shows at once
def _load(handle: TokenizerHandle, where: str) -> Tokenizer:
    from regvq.checkpoints import load_tokenizer

    tokenizer = load_tokenizer(handle.bundle, where)
    # Now: it says nothing any more once a part computes in another precision.
    _fingerprints[handle] = tokenizer.fingerprint.removeprefix("sha256:")[:32]
    return quicken(tokenizer)


_fingerprints: RecentItems[TokenizerHandle, str] = RecentItems(64)


def fingerprint(handle: TokenizerHandle) -> str:
    """Return a name for files about the tokenizer: the first 32 digits of its fingerprint, and the
    level if there are several."""
    if handle.level is not None:
        return f"{fingerprint(handle.all_levels)}-level-{handle.level}"
    if handle not in _fingerprints:
        _load.cache_clear()
        _ = handle.tokenizer
    return _fingerprints[handle]


def open_tokenizer(name: Any) -> TokenizerHandle:
    """Return the handle of the tokenizer called ``name``, or of a level of it, ``name#2``.

    Without a level it is that of the last one, up to which pictures are decoded. Raises UserError.
    """
    own, level = split_level(name)
    handle = open_bundle(bundle(own))
    count = levels_of(handle.bundle)
    if count == 1 and level is None:
        return handle
    if level is not None and not 1 <= level <= count:
        has = "one level" if count == 1 else f"{count} levels"
        raise UserError(f"The checkpoint {own} has {has}, so there is no level {level}.")
    return handle if count == 1 else replace(handle, name=name, level=level or count)


def open_bundle(found: Bundle) -> TokenizerHandle:
    """Return the handle of a tokenizer's bundle."""
    return _open(found.name, written_at(found), found.path)


def written_at(found: Bundle) -> int:
    """Return when a bundle's weights were written (ns); 0 if it has none (loading reports that)."""
    try:
        return (found.path / "model.safetensors").stat().st_mtime_ns
    except OSError:
        return 0


def summary(name: str | None) -> str:
    """Return a sentence that introduces the explorer with the checkpoint ``name``."""
    try:
        config = bundle(name).config["tokenizer"]
        codes = int(config["quantizer"]["size"])
        # As the network's downsampling, without importing torch for one sentence; only one of the
        # two networks has a stem.
        network = config["network"]
        f = int(network.get("stem", 1)) * 2 ** (len(network["widths"]) - 1)
        count = levels_of(bundle(name))
    except (UserError, KeyError, TypeError, ValueError):
        return no_checkpoint_text()
    several = f" at each of {count} levels" if count > 1 else ""
    return (
        f"A picture, encoded with {codes:,} learned codes{several}, one for every {f} × {f} "
        "pixels: see what is kept, and what each code stands for."
    )


_LOADING = re.compile(
    r"</?\s*(?:img|picture|source|video|audio|iframe|object|embed|svg|image|link|style)\b[^>]*>?",
    re.IGNORECASE,
)
"""HTML elements that load something."""


def model_card(name: Any) -> str:
    """Return the model card of a checkpoint in Markdown, without its YAML front matter.

    Pictures on other hosts become links: opening a card must not tell them who reads it.
    """
    text = re.sub(r"\A---\n.*?\n---\n", "", bundle(name).card, flags=re.DOTALL).strip()
    return without_pictures(text) or f"The checkpoint {name} has no model card."


def without_pictures(markdown: str) -> str:
    """Return Markdown with a link in place of each picture, and without HTML that loads any."""
    text, before = re.sub(r"!(?=\[)", "", markdown), None
    while text != before:  # what is removed may stand inside another one
        before, text = text, _LOADING.sub("", text)
    return text

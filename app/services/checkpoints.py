"""Tokenizers by name.

A browser sends a name from the list, never a path. Everything that runs a model holds
``model_lock.LOCK``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regvq.bundles.sources import VARIABLE
from regvq.paths import IN_TREE

from .cache import RecentItems
from .errors import UserError
from .gpu import device
from .precision import quicken

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


@dataclass(frozen=True)
class TokenizerHandle:
    """A tokenizer's checkpoint. Two handles are equal if they name the same unchanged files."""

    name: str
    written: int
    """The time at which the weights were written (ns): a run that is still training is reloaded."""
    bundle: Bundle = field(compare=False, repr=False)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, loaded at first use."""
        return _load(self, device())


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
    """Return a name for files about the tokenizer: the first 32 digits of its fingerprint."""
    if handle not in _fingerprints:
        _load.cache_clear()
        _ = handle.tokenizer
    return _fingerprints[handle]


def open_tokenizer(name: Any) -> TokenizerHandle:
    """Return the handle of the tokenizer called ``name``. Raises UserError."""
    return open_bundle(bundle(name))


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
    except (UserError, KeyError, TypeError, ValueError):
        return no_checkpoint_text()
    return (
        f"A picture, encoded with {codes:,} learned codes, one for every {f} × {f} pixels: "
        "see what is kept, and what each code stands for."
    )


def model_card(name: Any) -> str:
    """Return the model card of a checkpoint in Markdown, without its YAML front matter."""
    text = re.sub(r"\A---\n.*?\n---\n", "", bundle(name).card, flags=re.DOTALL).strip()
    return text or f"The checkpoint {name} has no model card."

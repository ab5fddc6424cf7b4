"""Checkpoints of every kind by name: the door for those who only want to list and load.

from regvq.checkpoints import load_prior, load_tokenizer, prior_tokenizer

prior = load_prior("checkpoints/scenes-text-diffusion")
tokenizer = load_tokenizer(prior_tokenizer("checkpoints/scenes-text-diffusion"))
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from .bundles.bundle import Bundle, bundle_of_kind, find_bundle, list_bundles
from .errors import CheckpointError
from .judges import load_judge
from .priors import Prior
from .tokenizer import Tokenizer

__all__ = [
    "Bundle",
    "CheckpointError",
    "find_bundle",
    "fingerprint_of",
    "list_bundles",
    "load_judge",
    "load_prior",
    "load_tokenizer",
    "prior_tokenizer",
]

load_tokenizer = Tokenizer.from_pretrained
load_prior = Prior.from_pretrained


def prior_tokenizer(source: str | Path | Bundle, *roots: str | Path) -> Bundle:
    """Return the bundle of the tokenizer whose tokens a prior draws, found by its fingerprint.

    It is searched beside the prior's own folder and below ``roots`` (see ``list_bundles``), first
    among those of the name that the prior's ``config.json`` states. Raises CheckpointError if it is
    missing, or if the tokenizer of that name is another one.
    """
    bundle = bundle_of_kind(source, "prior")
    try:
        wanted = bundle.config["tokenizer"]
        name, mark = str(wanted["name"]), str(wanted["fingerprint"])
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{bundle.path / 'config.json'} does not say which tokenizer the prior belongs to."
        ) from None
    home = bundle.path.parent.parent if bundle.path.name == "bundle" else bundle.path.parent
    known = {found.path.resolve(): found for found in list_bundles(home, kind="tokenizer")}
    known |= {found.path.resolve(): found for found in list_bundles(*roots, kind="tokenizer")}
    namesakes = [found for found in known.values() if Path(found.name).name == name]
    others = [found for found in known.values() if Path(found.name).name != name]
    for found in (*namesakes, *others):
        try:
            if fingerprint_of(found) == mark:
                return found
        except CheckpointError:
            continue  # one that cannot be read is not the one
    if namesakes:
        raise CheckpointError(
            f"the prior {bundle.name} was trained on another tokenizer than {namesakes[0].path}: "
            f"the name {name!r} is the same, the weights are not ({mark[:19]}); put the tokenizer "
            "of its own beside it, or train it again on this one."
        )
    raise CheckpointError(
        f"the prior {bundle.name} needs its tokenizer {name!r} ({mark[:19]}), which is not among "
        f"the checkpoints; put that bundle beside {bundle.path}."
    )


def fingerprint_of(bundle: Bundle) -> str:
    """Return the fingerprint of a tokenizer's bundle; cached while its files stay as they are.

    Raises CheckpointError if the bundle cannot be loaded."""
    files = (bundle.path / name for name in ("config.json", "model.safetensors"))
    try:
        written = tuple(file.stat().st_mtime_ns for file in files)
    except OSError as error:
        raise CheckpointError(f"{bundle.path} cannot be read ({error.strerror}).") from None
    return _fingerprint(bundle.path, written)


@lru_cache(maxsize=64)
def _fingerprint(path: Path, written: tuple[int, ...]) -> str:
    return load_tokenizer(path).fingerprint

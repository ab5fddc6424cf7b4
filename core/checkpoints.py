"""Listing and loading checkpoints of every kind.

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
    """Return the bundle of the tokenizer that a prior was trained on, found by its fingerprint.

    It is searched beside the prior's folder and inside ``roots`` (default: as ``list_bundles``);
    bundles of the name in the prior's ``config.json`` come first. Raises CheckpointError if the
    tokenizer is missing, or if the bundle of that name is another tokenizer.
    """
    bundle = bundle_of_kind(source, "prior")
    try:
        stated = bundle.config["tokenizer"]
        name, fingerprint = str(stated["name"]), str(stated["fingerprint"])
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{bundle.path / 'config.json'} does not say which tokenizer the prior belongs to."
        ) from None
    home = bundle.path.parent.parent if bundle.path.name == "bundle" else bundle.path.parent
    known = {each.path.resolve(): each for each in list_bundles(home, kind="tokenizer")}
    known |= {each.path.resolve(): each for each in list_bundles(*roots, kind="tokenizer")}
    namesakes = [each for each in known.values() if Path(each.name).name == name]
    others = [each for each in known.values() if Path(each.name).name != name]
    for candidate in (*namesakes, *others):
        try:
            if fingerprint_of(candidate) == fingerprint:
                return candidate
        except CheckpointError:
            continue  # a bundle that cannot be read is not the one
    if namesakes:
        raise CheckpointError(
            f"the prior {bundle.name} was trained on another tokenizer than {namesakes[0].path}: "
            f"the name {name!r} is the same, the weights are not ({fingerprint[:19]}); put the "
            "prior's tokenizer beside it, or train the prior again on this one."
        )
    raise CheckpointError(
        f"the prior {bundle.name} needs its tokenizer {name!r} ({fingerprint[:19]}), which is not "
        f"among the checkpoints; put that bundle beside {bundle.path}."
    )


def fingerprint_of(bundle: Bundle) -> str:
    """Return the fingerprint of a tokenizer's bundle, cached until its files change.

    Raises CheckpointError if the bundle cannot be loaded.
    """
    files = (bundle.path / name for name in ("config.json", "model.safetensors"))
    try:
        written = tuple(file.stat().st_mtime_ns for file in files)
    except OSError as error:
        raise CheckpointError(f"{bundle.path} cannot be read ({error.strerror}).") from None
    return _fingerprint(bundle.path, written)


@lru_cache(maxsize=64)
def _fingerprint(path: Path, written: tuple[int, ...]) -> str:
    return load_tokenizer(path).fingerprint

"""Checkpoint bundles: save, load, list.

A bundle is a folder with ``config.json``, ``model.safetensors``, ``README.md`` (the model card)
and ``metrics.json``. It holds a tokenizer, then with ``atlas.npz`` (code statistics, computed once
so that the app opens at once), or a prior, which names its tokenizer by fingerprint.
It is written beside its place and renamed, so that a reader sees the old bundle or the new one and
never half of one. Nothing is ever pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..config import (
    CheckpointError,
    describe_prior,
    describe_tokenizer,
    prior_config,
    tokenizer_config,
)
from ..paths import ROOT
from .sources import Place
from .sources import places as further_places
from .storage import (
    filled,
    read_arrays,
    read_json,
    replace_folder,
    stored,
    write_folder,
    write_json,
)

if TYPE_CHECKING:
    from ..priors import Prior
    from ..tokenizer import Tokenizer

__all__ = [
    "CHECKPOINTS",
    "RUNS",
    "Bundle",
    "CheckpointError",
    "describe_prior",
    "describe_tokenizer",
    "find_bundle",
    "fingerprint_of",
    "list_bundles",
    "load_prior",
    "load_tokenizer",
    "prior_config",
    "prior_tokenizer",
    "replace_folder",
    "save_bundle",
    "save_prior",
    "tokenizer_config",
    "write_json",
]

CHECKPOINTS = ROOT / "checkpoints"
RUNS = ROOT / "runs"
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """A checkpoint on disk. Its parts are read when they are asked for."""

    name: str
    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``: kind, architecture, and the recipe that trained it."""
        return read_json(self.path / "config.json")

    @property
    def kind(self) -> str:
        """What it holds: "tokenizer" or "prior" (or what a later version may have written)."""
        return str(self.config.get("kind", "nothing known"))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``, or nothing if the bundle was not evaluated."""
        file = self.path / "metrics.json"
        return read_json(file) if file.exists() else {}

    @cached_property
    def card(self) -> str:
        """The model card, Markdown."""
        file = self.path / "README.md"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @cached_property
    def atlas(self) -> dict[str, np.ndarray]:
        """Code statistics (see ``core.analysis.atlas``), or nothing if they were not computed."""
        file = self.path / "atlas.npz"
        if not file.exists():
            return {}
        try:
            return read_arrays(file)
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{file} cannot be read ({error}); make it again.") from None


def find_bundle(path: str | Path) -> Bundle:
    """The bundle at ``path``: a bundle folder, or a run folder that has one in ``bundle/``."""
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / "config.json").is_file():
            return Bundle(path.name, folder)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; name a folder that has config.json.")
    raise CheckpointError(f"{path} is no checkpoint: it has no config.json.")


def list_bundles(
    *roots: str | Path, kind: Literal["tokenizer", "prior"] | None = None
) -> list[Bundle]:
    """Bundles below ``roots``, by name; a folder that is no bundle is passed over.

    Without roots: those shipped in ``checkpoints/``, those that ``$REGVQ_CHECKPOINTS`` names
    (``core.bundles.sources``; of the Hub's, those fetched by now), and those of the runs in
    ``runs/`` (named ``runs/NAME``). With a ``kind``, those alone, and none whose ``config.json``
    cannot be read.
    """
    if roots:
        places = [Place(Path(root)) for root in roots]
    else:
        places = [Place(CHECKPOINTS), *further_places(), Place(RUNS, "runs/")]
    found: dict[str, Bundle] = {}
    for place in places:
        for name, folder in _folders(place):
            try:
                bundle = find_bundle(folder)
                if kind is not None and bundle.kind != kind:
                    continue
            except CheckpointError:
                continue
            found.setdefault(name, Bundle(name, bundle.path))
    return list(found.values())


def _folders(place: Place) -> list[tuple[str, Path]]:
    """The folders of a place that may be bundles, by name."""
    if not place.root.is_dir():
        return []
    if place.own and (place.root / "config.json").is_file():
        return [(place.own, place.root)]
    inside = sorted(entry for entry in place.root.iterdir() if entry.is_dir())
    return [(place.prefix + folder.name, folder) for folder in inside]


def load_tokenizer(source: str | Path | Bundle, device: str = "cpu") -> Tokenizer:
    """The tokenizer of a bundle, float32, in eval mode.

    Raises ``CheckpointError`` for a folder without one, another format, or weights that do not fit.
    """
    from ..tokenizer import Tokenizer

    bundle = _of_kind(source, "tokenizer")
    file = bundle.path / "config.json"
    tokenizer = Tokenizer(tokenizer_config(bundle.config.get("tokenizer"), file))
    return filled(tokenizer, bundle.path / "model.safetensors").to(device)


def load_prior(source: str | Path | Bundle, device: str = "cpu") -> Prior:
    """The prior of a bundle, float32, in eval mode. Its tokenizer is ``prior_tokenizer``'s.

    Raises ``CheckpointError`` for a folder without one, another format, or weights that do not fit.
    """
    bundle = _of_kind(source, "prior")
    prior = prior_config(bundle.config.get("prior"), bundle.path / "config.json").build()
    return filled(prior, bundle.path / "model.safetensors").to(device)


def prior_tokenizer(source: str | Path | Bundle, *roots: str | Path) -> Bundle:
    """The bundle of the tokenizer whose tokens a prior draws, by its fingerprint.

    Looked for beside the prior's own folder and below ``roots`` (see ``list_bundles``), those of
    the name that the prior knows first. Raises ``CheckpointError`` if it is not there, or if the
    tokenizer of that name is another one.
    """
    bundle = _of_kind(source, "prior")
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
    from ..data.token_shards import fingerprint

    return fingerprint(load_tokenizer(path))


def save_bundle(
    path: str | Path,
    *,
    tokenizer: Tokenizer,
    card: str = "",
    metrics: Mapping[str, Any] | None = None,
    atlas: Mapping[str, np.ndarray] | None = None,
    recipe: Mapping[str, Any] | None = None,
    half: bool = True,
) -> Bundle:
    """Write a tokenizer's bundle to ``path``, in place of one that may be there.

    ``half`` stores floating-point weights in float16, except those of the quantizer: rounding codes
    moves picture positions to other codes, rounding convolutions costs nothing measurable.
    """
    config = {
        "format": FORMAT,
        "kind": "tokenizer",
        "tokenizer": describe_tokenizer(tokenizer.config),
        "recipe": dict(recipe or {}),
    }
    state = stored(tokenizer, half, spared="quantizer.")
    write_folder(Path(path), config, state, card, metrics, atlas)
    return Bundle(Path(path).name, Path(path))


def save_prior(
    path: str | Path,
    *,
    prior: Prior,
    tokenizer: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
    sampling: Mapping[str, Any] | None = None,
    card: str = "",
    metrics: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    half: bool = True,
) -> Bundle:
    """Write a prior's bundle to ``path``, in place of one that may be there.

    ``tokenizer``: ``{"name", "fingerprint"}`` of the one whose ids it draws. ``data``: ``{"name",
    "classes", "palette"}``, what a semantic map is painted with. ``sampling``: the settings of
    ``Prior.sample`` with which it is best used. ``half`` stores floating-point weights in float16.
    """
    config = {
        "format": FORMAT,
        "kind": "prior",
        "prior": describe_prior(prior.config),
        "tokenizer": dict(tokenizer),
        "data": dict(data or {}),
        "sampling": dict(sampling or {}),
        "recipe": dict(recipe or {}),
    }
    write_folder(Path(path), config, stored(prior, half), card, metrics)
    return Bundle(Path(path).name, Path(path))


def _of_kind(source: str | Path | Bundle, kind: str) -> Bundle:
    bundle = source if isinstance(source, Bundle) else find_bundle(source)
    if bundle.kind != kind:
        raise CheckpointError(
            f"{bundle.path / 'config.json'} describes a {bundle.kind!r}, not a {kind}."
        )
    if bundle.config.get("format") != FORMAT:
        raise CheckpointError(
            f"{bundle.path / 'config.json'} is of format {bundle.config.get('format')}; "
            f"this version reads format {FORMAT}."
        )
    return bundle

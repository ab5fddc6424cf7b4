"""Checkpoint bundles on disk: found, listed, and their files read.

A bundle is a folder with ``config.json``, ``model.safetensors``, ``README.md`` (the model card)
and ``metrics.json``. It holds a tokenizer (then also ``atlas.npz``, code statistics that are
computed once so that the app opens at once), a prior (whose ``config.json`` names its tokenizer by
fingerprint), or a judge. It is written beside its place and renamed, so that a reader sees the old
bundle or the new one and never half of one. Nothing is ever pickled.

This module reads folders and knows no model: models load and save themselves
(``Tokenizer.from_pretrained``, ``Prior.from_pretrained``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import CheckpointError
from ..paths import ROOT
from .sources import Place
from .sources import places as further_places
from .storage import read_arrays, read_json

CHECKPOINTS = ROOT / "checkpoints"
RUNS = ROOT / "runs"
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """A checkpoint on disk. Its parts are read when they are first used."""

    name: str
    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``: kind, architecture, and the recipe that trained the model."""
        return read_json(self.path / "config.json")

    @property
    def kind(self) -> str:
        """ "tokenizer", "prior" or "judge" (or what a later version may have written)."""
        return str(self.config.get("kind", "nothing known"))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``; empty if the bundle was not evaluated."""
        file = self.path / "metrics.json"
        return read_json(file) if file.exists() else {}

    @cached_property
    def card(self) -> str:
        """The model card, Markdown."""
        file = self.path / "README.md"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @cached_property
    def atlas(self) -> dict[str, np.ndarray]:
        """Code statistics (see ``core.analysis.atlas``); empty if they were not computed."""
        file = self.path / "atlas.npz"
        if not file.exists():
            return {}
        try:
            return read_arrays(file)
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{file} cannot be read ({error}); make it again.") from None


def find_bundle(path: str | Path) -> Bundle:
    """Return the bundle at ``path``: a bundle folder, or a run folder with one in ``bundle/``.

    Raises CheckpointError if there is none.
    """
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
    """Return the bundles below ``roots``, by name; folders without a bundle are skipped.

    Without roots, they are those shipped in ``checkpoints/``, those that ``$REGVQ_CHECKPOINTS``
    names (``core.bundles.sources``; of the Hub's, those fetched by now), and those of the runs in
    ``runs/`` (named ``runs/NAME``). With a ``kind``, only those of the kind are returned, and none
    whose ``config.json`` cannot be read.
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
    """Return the folders of a place that may be bundles, by name."""
    if not place.root.is_dir():
        return []
    if place.own and (place.root / "config.json").is_file():
        return [(place.own, place.root)]
    inside = sorted(entry for entry in place.root.iterdir() if entry.is_dir())
    return [(place.prefix + folder.name, folder) for folder in inside]


def bundle_of_kind(source: str | Path | Bundle, kind: str) -> Bundle:
    """Return the bundle at ``source``. Raises CheckpointError unless it is of that kind and of a
    format that this version reads."""
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

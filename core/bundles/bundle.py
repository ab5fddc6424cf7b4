"""Checkpoint bundles on disk: finding and listing them, and reading their files.

A bundle is a folder with ``config.json``, ``model.safetensors``, ``README.md`` (the model card)
and ``metrics.json``. It holds a tokenizer (then also ``atlas.npz``, code statistics that are
computed once so that the app opens quickly), a prior (its ``config.json`` states the fingerprint of
its tokenizer), or a judge. A bundle is replaced as a whole (``core.bundles.replacement``), so that
a reader never sees an incomplete one. ``config.json`` states the SHA-256 of weights, atlas and
itself, which are checked when they are loaded. Nothing is ever pickled.

This module reads folders and knows no model: models load and save themselves
(``Tokenizer.from_pretrained``, ``Prior.from_pretrained``, ``Judge.from_pretrained``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..errors import CheckpointError
from ..paths import ROOT
from .checksums import Mark, mark_of
from .replacement import NEW, OLD, beside, is_leftover, present
from .sources import SearchPath, fetch, repository_and_folder, search_paths
from .storage import ATLAS, CHECKSUMS, CONFIG, WEIGHTS, check_file, read_arrays, read_json

log = logging.getLogger("regvq.bundles")

Loaded = TypeVar("Loaded")

CHECKPOINTS = ROOT / "checkpoints"
RUNS = ROOT / "runs"
FORMAT = 1
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between attempts to read a bundle that changes


@dataclass(frozen=True)
class Bundle:
    """A checkpoint on disk. Its files are read when they are first used."""

    name: str
    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``: kind, architecture, and the recipe that trained the model."""
        return read_json(self.path / "config.json")

    @property
    def kind(self) -> str:
        """ "tokenizer", "prior", "judge", or a kind that only a later version knows."""
        return str(self.config.get("kind", "unknown"))

    @property
    def checksums(self) -> dict[str, str]:
        """The SHA-256 of weights and atlas by file name; empty for a bundle without them."""
        return dict(self.config.get(CHECKSUMS) or {})

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``; empty if the bundle was not evaluated."""
        file = self.path / "metrics.json"
        return read_json(file) if file.exists() else {}

    @cached_property
    def card(self) -> str:
        """The model card, Markdown."""
        file = self.path / "README.md"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    @cached_property
    def atlas(self) -> dict[str, np.ndarray]:
        """Code statistics (see ``core.analysis.atlas``); empty if they were not computed.

        Also empty for an atlas that is damaged or of another checkpoint, which is logged: it can
        be computed again, and the checkpoint does not need it.
        """
        file = self.path / ATLAS
        if not file.exists():
            return {}
        try:
            if checksums := self.checksums:
                check_file(file, checksums.get(ATLAS, "none"))
            return read_arrays(file)
        except (ValueError, OSError) as error:
            log.warning("The atlas of %s is not used: %s", self.name, error)
            return {}


def find_bundle(path: str | Path) -> Bundle:
    """Return the bundle at ``path``: a bundle folder, or a run folder with one in ``bundle/``.

    Raises CheckpointError if ``path`` is neither.
    """
    path = Path(path)
    for _ in range(3):
        for place in (path, path / "bundle"):
            folder = present(place)
            if (folder / "config.json").is_file():
                return Bundle(path.name, folder)
        # Where names cannot be exchanged, a replacement may have ended between two looks.
        if not any(beside(path, suffix).exists() for suffix in (NEW, OLD)):
            break
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; name a folder that has config.json.")
    raise CheckpointError(f"{path} is not a checkpoint: it has no config.json.")


def list_bundles(
    *roots: str | Path, kind: Literal["tokenizer", "prior"] | None = None
) -> list[Bundle]:
    """Return the bundles inside ``roots``, sorted by name; folders without one are skipped, and so
    are the leftovers of replaced bundles.

    By default, the roots are ``checkpoints/`` (the shipped bundles), the entries of the variable
    ``REGVQ_CHECKPOINTS`` (``core.bundles.sources``; only repositories that were fetched so far),
    and ``runs/``, whose bundles are named ``runs/NAME``. Of several bundles of one name, the first
    is returned. With a ``kind``, only bundles of that kind are returned, and a folder whose
    ``config.json`` cannot be read is skipped.
    """
    if roots:
        paths = [SearchPath(Path(root)) for root in roots]
    else:
        paths = [SearchPath(CHECKPOINTS), *search_paths(), SearchPath(RUNS, "runs/")]
    bundles: dict[str, Bundle] = {}
    for path in paths:
        for name, folder in _folders(path):
            try:
                bundle = find_bundle(folder)
                if kind is not None and bundle.kind != kind:
                    continue
            except CheckpointError:
                continue
            bundles.setdefault(name, Bundle(name, bundle.path))
    return list(bundles.values())


def _folders(path: SearchPath) -> list[tuple[str, Path]]:
    """Return the names and folders of possible bundles."""
    if not path.root.is_dir():
        return []
    if path.own_name and (path.root / "config.json").is_file():
        return [(path.own_name, path.root)]
    names = {entry.name for entry in path.root.iterdir()}
    # A bundle that is being replaced, or whose replacement was interrupted, may be there under one
    # of its other names only.
    names |= {name.removesuffix(suffix) for suffix in (NEW, OLD) for name in names}
    found = sorted(name for name in names if name and not is_leftover(name))
    return [(path.prefix + name, path.root / name) for name in found]


def open_bundle(source: str | Path | Bundle) -> Bundle:
    """Return the bundle at ``source``: a folder as for ``find_bundle``, or a repository of the Hub.

    A repository is a text, ``user/name``, ``user/name@revision``, or, where it holds several
    bundles, ``user/name/bundle``. It is fetched if this machine's Hub cache does not have it, and
    the bundle bears the text as its name. A path is never a repository, nor is a text whose path or
    first folder exists here.

    Raises CheckpointError if there is no bundle, or if the repository cannot be fetched.
    """
    if isinstance(source, Bundle):
        return source
    found = repository_and_folder(source) if isinstance(source, str) else None
    if found is None:
        return find_bundle(source)
    repository, folder = found
    try:
        root = fetch(repository)
    except CheckpointError as error:
        raise CheckpointError(f"There is no folder {source} here, and {error}") from None
    if folder or (root / "config.json").is_file():
        if not (root / folder / "config.json").is_file():
            raise CheckpointError(f"{repository.text} holds no checkpoint {folder!r}.")
        return Bundle(str(source), root / folder)
    names = [bundle.name for bundle in list_bundles(root)]
    if not names:
        raise CheckpointError(f"{repository.text} holds no checkpoint (config.json).")
    raise CheckpointError(
        f"{repository.text} holds several checkpoints; name one: "
        + ", ".join(f"{repository.text}/{name}" for name in names)
        + "."
    )


def bundle_of_kind(source: str | Path | Bundle, kind: str) -> Bundle:
    """Return the bundle at ``source`` (see ``open_bundle``).

    Raises CheckpointError if it is of another kind, or of a format that this version cannot read.
    """
    bundle = open_bundle(source)
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


def load_bundle(bundle: Bundle, load: Callable[[Bundle, str | None], Loaded]) -> Loaded:
    """Return ``load(bundle, sha256)``, with the SHA-256 of the weights, or None if it is not known.

    A bundle that is being replaced can be met with files of both versions: what cannot be loaded is
    read again if it has changed meanwhile, a few times at most.
    """
    home = bundle.path.with_name(bundle.path.name.removesuffix(OLD))
    for wait in _WAITS:
        before = _marks(bundle)
        try:
            return load(bundle, _sha256(bundle))
        except CheckpointError:
            time.sleep(wait)
            again = Bundle(bundle.name, present(home))
            if again.path == bundle.path and _marks(again) == before:
                raise
            bundle = again
    return load(bundle, _sha256(bundle))


def _marks(bundle: Bundle) -> list[Mark | None]:
    def mark(file: Path) -> Mark | None:
        try:
            return mark_of(file)
        except OSError:
            return None

    return [mark(bundle.path / name) for name in (CONFIG, WEIGHTS)]


def _sha256(bundle: Bundle) -> str | None:
    checksums = bundle.checksums
    if not checksums:
        log.info("%s is older than checksums: its files are not checked", bundle.name)
        return None
    return checksums.get(WEIGHTS, "none")

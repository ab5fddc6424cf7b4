"""Where further checkpoints come from: what ``REGVQ_CHECKPOINTS`` names.

Folders and repositories of the Hugging Face Hub (``user/name`` or ``user/name@revision``), with
commas or the system's path separator between them; a folder that is there goes before a repository
of the same name. A folder or repository is one bundle, or holds several. From the Hub come weights,
JSON, cards and arrays and nothing else: nothing that is fetched is ever run or unpickled.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError

log = logging.getLogger("regvq.sources")

VARIABLE = "REGVQ_CHECKPOINTS"
FETCHED = ("*.safetensors", "*.json", "*.md", "*.npz")
"""The files of a repository that are fetched."""
_HUB = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]{1,100}))?", re.ASCII)


@dataclass(frozen=True)
class Source:
    """An entry of the variable: a folder, or a repository of the Hub."""

    text: str
    """The entry as it was written."""
    repository: str | None = None
    revision: str | None = None

    @property
    def folder(self) -> Path | None:
        """The folder that it names, unless it names a repository."""
        return Path(self.text).expanduser() if self.repository is None else None

    @property
    def display_name(self) -> str:
        """What a visitor is told it is called: a folder's place is its owner's affair."""
        return self.text if self.repository else Path(self.text).name or self.text


@dataclass(frozen=True)
class Place:
    """A folder in which bundles are looked for."""

    root: Path
    prefix: str = ""
    """What stands before the names of the bundles in it."""
    own: str = ""
    """What ``root`` is called where it is a bundle itself; nothing: it is none."""


def sources(text: str | None = None) -> list[Source]:
    """The entries of ``text``, or of the variable ``REGVQ_CHECKPOINTS``."""
    text = os.environ.get(VARIABLE, "") if text is None else text
    # The separator does not part an address (https://…), whose refusal should name it whole.
    entries = re.split(rf",|{re.escape(os.pathsep)}(?!//)", text)
    return [_source(entry.strip()) for entry in entries if entry.strip()]


def _source(entry: str) -> Source:
    found = _HUB.fullmatch(entry)
    named = entry.startswith((".", "~", os.sep)) or Path(entry).is_dir()
    return Source(entry, *found.groups()) if found and not named else Source(entry)


# What was fetched in this process: the folder, or the sentence that says why there is none.
_fetched: dict[Source, Path | str] = {}
_FETCHING = threading.Lock()


def fetch_all(again: bool = False) -> list[str]:
    """Fetch the repositories that the variable names and that were not fetched yet.

    What is in the Hub's cache on this machine and unchanged is not fetched again; where the Hub
    cannot be reached, the cached one is taken. ``again`` tries once more what failed. Returns
    ``problems()``; raises nothing.
    """
    with _FETCHING:
        for source in sources():
            known = _fetched.get(source)
            if source.repository is None or isinstance(known, Path) or (known and not again):
                continue
            try:
                _fetched[source] = fetch(source)
            except CheckpointError as error:
                _fetched[source] = str(error)
                log.warning("%s", error)
    return problems()


def fetch(source: Source) -> Path:
    """The files of a repository in a folder of this machine. Raises CheckpointError."""
    from huggingface_hub import errors, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(
            snapshot_download(
                source.repository or "", revision=source.revision, allow_patterns=list(FETCHED)
            )
        )
    except errors.GatedRepoError:
        reason = "it is gated, and the token of this machine (HF_TOKEN) has no access"
    except errors.RepositoryNotFoundError:
        reason = "the Hub has no such repository, or only for its owners (HF_TOKEN)"
    except errors.RevisionNotFoundError:
        reason = f"it has no revision {source.revision!r}"
    except errors.HFValidationError:
        reason = "that is no name of a repository"
    except errors.LocalEntryNotFoundError:
        reason = "the Hub cannot be reached, and it was not fetched before"
    except Exception as error:
        # The Hub's client fails in many ways (its transport's among them); none may stop the app.
        reason = f"the Hub answered with {type(error).__name__}"
    raise CheckpointError(f"{source.text} cannot be fetched: {reason}.")


def places() -> list[Place]:
    """Where the bundles are that the variable names, as far as they are there by now."""
    found = []
    for source in sources():
        if source.folder is not None:
            root = source.folder
            found.append(Place(root, "", root.resolve().name))
        else:
            fetched = _fetched.get(source)
            if isinstance(fetched, Path):
                found.append(Place(fetched, f"{source.text}/", source.text))
    return found


def pending() -> list[str]:
    """The repositories that are still to be fetched."""
    return [s.text for s in sources() if s.repository is not None and s not in _fetched]


def problems() -> list[str]:
    """What is wrong with the entries of the variable, a sentence each."""
    said = []
    for source in sources():
        known = _fetched.get(source)
        if isinstance(known, str):
            said.append(known)
        elif source.folder is not None and not source.folder.is_dir():
            said.append(
                f"{VARIABLE} names {source.display_name}, which is neither a folder here nor the "
                "name of a repository (user/name)."
            )
        elif isinstance(known, Path) and not _holds_bundles(known):
            said.append(f"{source.text} was fetched, but holds no checkpoint (config.json).")
    return said


def _holds_bundles(root: Path) -> bool:
    return any((root / "config.json").is_file() for root in (root, *root.glob("*")))

"""Further checkpoints: the folders and repositories that ``REGVQ_CHECKPOINTS`` lists.

The entries are folders or repositories of the Hugging Face Hub (``user/name`` or
``user/name@revision``), separated by commas or by the system's path separator. A folder that exists
takes precedence over a repository of the same name. A folder or a repository is one bundle, or
holds several. Only weights, JSON, cards and arrays are fetched from the Hub: nothing that is
fetched is ever executed or unpickled.
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
"""Patterns of the files of a repository that are fetched."""
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
        """The folder of the entry; None for a repository."""
        return Path(self.text).expanduser() if self.repository is None else None

    @property
    def display_name(self) -> str:
        """The name for visitors of the app: only the last part of a folder's private path."""
        return self.text if self.repository else Path(self.text).name or self.text


@dataclass(frozen=True)
class SearchPath:
    """A folder in which bundles are searched."""

    root: Path
    prefix: str = ""
    """Prefix of the names of the bundles inside ``root``."""
    own_name: str = ""
    """Name of ``root`` if it is a bundle itself; empty: only the folders inside are searched."""


def sources(text: str | None = None) -> list[Source]:
    """Return the entries of ``text``, by default of the variable ``REGVQ_CHECKPOINTS``."""
    text = os.environ.get(VARIABLE, "") if text is None else text
    # An address (https://…) is not split at its colon, so that the error message states it whole.
    entries = re.split(rf",|{re.escape(os.pathsep)}(?!//)", text)
    return [_source(entry.strip()) for entry in entries if entry.strip()]


def _source(entry: str) -> Source:
    match = _HUB.fullmatch(entry)
    is_path = entry.startswith((".", "~", os.sep)) or Path(entry).is_dir()
    return Source(entry, *match.groups()) if match and not is_path else Source(entry)


def repository_and_folder(text: str) -> tuple[Source, str] | None:
    """Split ``user/name[@revision][/folder]`` into a repository and a folder in it ("": itself).

    Return None if ``text`` is a path: one that exists, or whose first folder exists here, so that
    a mistyped ``checkpoints/NAME`` is not looked for on the Hub.
    """
    user, _, rest = text.partition("/")
    repository, _, folder = rest.partition("/")
    match = _HUB.fullmatch(f"{user}/{repository}")
    is_path = text.startswith((".", "~", os.sep)) or Path(user).exists() or Path(text).exists()
    if match is None or is_path or not re.fullmatch(r"[\w.-]{0,96}", folder) or ".." in folder:
        return None
    return Source(f"{user}/{repository}", *match.groups()), folder


# The result of each fetch in this process: the folder, or the error message.
_fetched: dict[Source, Path | str] = {}
_FETCHING = threading.Lock()


def fetch_all(again: bool = False) -> list[str]:
    """Fetch the repositories of the variable that were not fetched yet; return ``problems()``.

    Files in this machine's Hub cache that did not change are not fetched again, and the cached
    files are used if the Hub cannot be reached. With ``again``, repositories that could not be
    fetched are tried once more. Raises nothing.
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
    """Fetch a repository and return its folder on this machine. Raises CheckpointError."""
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
        reason = "that is not the name of a repository"
    except errors.LocalEntryNotFoundError:
        reason = "the Hub cannot be reached, and it was not fetched before"
    except Exception as error:
        # The Hub's client and its transport raise many types of errors; none may stop the app.
        reason = f"the Hub answered with {type(error).__name__}"
    raise CheckpointError(f"{source.text} cannot be fetched: {reason}.")


def search_paths() -> list[SearchPath]:
    """Return the folders of the variable, including those of repositories fetched so far."""
    paths = []
    for source in sources():
        if source.folder is not None:
            paths.append(SearchPath(source.folder, own_name=source.folder.resolve().name))
        else:
            fetched = _fetched.get(source)
            if isinstance(fetched, Path):
                paths.append(SearchPath(fetched, f"{source.text}/", source.text))
    return paths


def pending() -> list[str]:
    """Return the repositories that are not fetched yet."""
    return [s.text for s in sources() if s.repository is not None and s not in _fetched]


def problems() -> list[str]:
    """Return an error message, one sentence, for each entry that cannot be used."""
    messages = []
    for source in sources():
        known = _fetched.get(source)
        if isinstance(known, str):
            messages.append(known)
        elif source.folder is not None and not source.folder.is_dir():
            messages.append(
                f"{VARIABLE} names {source.display_name}, which is neither a folder here nor the "
                "name of a repository (user/name)."
            )
        elif isinstance(known, Path) and not _holds_bundles(known):
            messages.append(f"{source.text} was fetched, but holds no checkpoint (config.json).")
    return messages


def _holds_bundles(root: Path) -> bool:
    return any((folder / "config.json").is_file() for folder in (root, *root.glob("*")))

"""Links to the current view of the explorer: the selection as the query of an address.

A link names only what everyone can choose: a tab, a checkpoint, a code, an example, numbers, a
prompt. A user's own picture is never part of it. The query of a link is untrusted text: each value
is checked against the available ones, and a value that does not fit is ignored with a sentence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from . import checkpoints, priors
from .errors import UserError
from .examples import examples
from .validation import MAX_SEED, number, whole_number

TABS = {
    "reconstruct": "Reconstruct",
    "codebook": "Codebook",
    "codemap": "Code map",
    "masks": "Mask ratio",
    "generate": "Generate",
    "compare": "Compare",
    "lab": "Collapse lab",
    "about": "About",
}
"""The tabs: the name in a link, and the title on the page."""

LONGEST = 500
"""Characters of a prompt in a link."""


@dataclass
class Selection:
    """The selection of a link; None for everything that the link does not mention."""

    tab: str | None = None
    checkpoint: str | None = None
    example: str | None = None
    code: int | None = None
    ratio: float | None = None
    seed: int | None = None
    prior: str | None = None
    prompt: str | None = None
    prompt_seed: int | None = None
    level: int | None = None
    """The level (from 1) of a checkpoint with several; None for the last one, which is chosen at
    first."""
    ignored: list[str] = field(default_factory=list)
    """One sentence per value that was ignored."""


def to_query(selection: Selection) -> str:
    """Return the query of the link to ``selection``, without "?"; defaults are left out."""
    named = {name: getattr(selection, name) for name in _PARSERS}
    default = {"ratio": 0, "seed": 0, "prompt_seed": 0, "prompt": ""}
    return urlencode(
        {
            name.replace("_", "-"): f"{value:g}" if isinstance(value, float) else value
            for name, value in named.items()
            if value is not None and value != default.get(name)
        }
    )


def parse_query(query: Any) -> Selection:
    """Return the selection of an address's query; values that do not fit are noted as ignored."""
    selection = Selection()
    text = query if isinstance(query, str) else ""
    try:
        pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True, max_num_fields=40)
    except ValueError:
        selection.ignored.append("The link has too many values; all of them are ignored.")
        return selection
    given = {name.replace("-", "_"): value for name, value in pairs}
    for name, parse in _PARSERS.items():  # in this order: a level belongs to its checkpoint
        if name not in given:
            continue
        try:
            setattr(selection, name, parse(given[name], selection))
        except UserError as error:
            what = name.replace("_", " ")
            selection.ignored.append(f"The {what} of the link is ignored. {error}")
    return selection


def level_number(name: Any) -> int | None:
    """Return the level of a name such as "photos-rvq#2" for a link; None for the checkpoint's last
    level, which needs no mention, and for a name without a level."""
    own, level = checkpoints.split_level(name)
    try:
        return None if level == checkpoints.levels_of(checkpoints.bundle(own)) else level
    except UserError:
        return None


def example_name(image: Any) -> str | None:
    """Return the name of the example that the picture at ``image`` is; None for a user's own."""
    if not isinstance(image, str):
        return None
    for example in examples():
        known, given = Path(example.path), Path(image)
        try:
            if known.name == given.name and known.read_bytes() == given.read_bytes():
                return known.stem
        except OSError:
            continue
    return None


def example_path(name: str | None) -> str:
    """Return the file of the example called ``name``; of the first example for None."""
    known = examples()
    return next((one.path for one in known if Path(one.path).stem == name), known[0].path)


# ---------------------------------------------------------------- one parser per value


def _available(known: Mapping[str, Any] | list[str], what: str, value: str) -> str:
    if value not in known:
        raise UserError(f"There is no {what} called {value[:40]!r}; available: {', '.join(known)}.")
    return value


def _tab(value: str, selection: Selection) -> str:
    return _available(TABS, "tab", value)


def _checkpoint(value: str, selection: Selection) -> str:
    return _available(checkpoints.names(), "checkpoint", value)


def _level(value: str, selection: Selection) -> int:
    names = checkpoints.names()
    chosen = selection.checkpoint or (names[0] if names else None)
    return whole_number(value, "level", 1, checkpoints.levels_of(checkpoints.bundle(chosen)))


def _example(value: str, selection: Selection) -> str:
    return _available([Path(one.path).stem for one in examples()], "example", value)


def _code(value: str, selection: Selection) -> int:
    names = checkpoints.names()
    chosen = selection.checkpoint or (names[0] if names else None)
    try:
        size = int(checkpoints.bundle(chosen).config["tokenizer"]["quantizer"]["size"])
    except (KeyError, TypeError, ValueError):
        size = 1 << 20  # the tab itself checks again
    return whole_number(value, "code", 0, size - 1)


def _seed(value: str, selection: Selection) -> int:
    return whole_number(value, "seed", 0, MAX_SEED)


def _ratio(value: str, selection: Selection) -> float:
    return number(value, "mask ratio", 0, 1)


def _prior(value: str, selection: Selection) -> str:
    return _available(priors.names("text"), "text-conditioned prior", value)


def _prompt(value: str, selection: Selection) -> str:
    if len(value) > LONGEST:
        raise UserError(f"A prompt in a link has {LONGEST} characters at most, not {len(value):,}.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
        raise UserError("A prompt in a link is one line of plain text.")
    return value


_PARSERS: dict[str, Callable[[str, Selection], Any]] = {
    "tab": _tab,
    "checkpoint": _checkpoint,
    "level": _level,
    "example": _example,
    "code": _code,
    "ratio": _ratio,
    "seed": _seed,
    "prior": _prior,
    "prompt": _prompt,
    "prompt_seed": _seed,
}

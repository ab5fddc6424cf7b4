"""Links that open the app where someone stands: what is picked, as the query of an address.

A link names only what is on offer to everyone: a tab, a checkpoint, a code, an example, numbers, a
prompt. A visitor's own picture is never part of it. What comes in by a link is a stranger's text:
each value is checked against what there is, and one that does not fit is left out with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..ui.errors import Refused
from . import checkpoints
from .reconstruction import MAX_SEED

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
"""The tabs: as a link names them, and as the page does."""

LONGEST = 500
"""Characters of a prompt in a link."""


@dataclass
class Picks:
    """What is picked; None where nothing is said of it."""

    tab: str | None = None
    checkpoint: str | None = None
    example: str | None = None
    code: int | None = None
    ratio: float | None = None
    seed: int | None = None
    prior: str | None = None
    prompt: str | None = None
    prompt_seed: int | None = None
    ignored: list[str] = field(default_factory=list)
    """A sentence for each value that was left out."""


def link(picks: Picks) -> str:
    """The query of the link to ``picks``, without its question mark; defaults are left out."""
    named = {name: getattr(picks, name) for name in _READERS}
    usual = {"ratio": 0, "seed": 0, "prompt_seed": 0, "prompt": ""}
    return urlencode(
        {
            name.replace("_", "-"): f"{value:g}" if isinstance(value, float) else value
            for name, value in named.items()
            if value is not None and value != usual.get(name)
        }
    )


def read(query: Any) -> Picks:
    """What an address's query picks. What does not fit is left out and noted in ``ignored``."""
    picks = Picks()
    text = query if isinstance(query, str) else ""
    try:
        pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True, max_num_fields=40)
    except ValueError:
        picks.ignored.append("The link holds too much; it is read as the plain address.")
        return picks
    given = {name.replace("-", "_"): value for name, value in pairs}
    for name, reader in _READERS.items():  # in this order: a code is one of its checkpoint
        if name not in given:
            continue
        try:
            setattr(picks, name, reader(given[name], picks))
        except Refused as refusal:
            what = name.replace("_", " ")
            picks.ignored.append(f"The link is read without its {what}. {refusal}")
    return picks


def example_of(image: Any) -> str | None:
    """The name of the example that the picture at ``image`` is, or None: then it is a visitor's."""
    from .examples import examples

    if not isinstance(image, str):
        return None
    for example in examples():
        known, own = Path(example.path), Path(image)
        try:
            if known.name == own.name and known.read_bytes() == own.read_bytes():
                return known.stem
        except OSError:
            continue
    return None


def example_path(name: str | None) -> str:
    """The file of the example called ``name``; the first example for None."""
    from .examples import examples

    known = examples()
    return next((one.path for one in known if Path(one.path).stem == name), known[0].path)


def _one_of(known: Mapping[str, Any] | list[str], what: str, value: str) -> str:
    if value not in known:
        raise Refused(f"There is no {what} called {value[:40]!r}; there is {', '.join(known)}.")
    return value


def _tab(value: str, picks: Picks) -> str:
    return _one_of(TABS, "tab", value)


def _checkpoint(value: str, picks: Picks) -> str:
    return _one_of(checkpoints.names(), "checkpoint", value)


def _example(value: str, picks: Picks) -> str:
    from .examples import examples

    return _one_of([Path(one.path).stem for one in examples()], "example", value)


def _code(value: str, picks: Picks) -> int:
    names = checkpoints.names()
    chosen = picks.checkpoint or (names[0] if names else None)
    try:
        size = int(checkpoints.bundle(chosen).config["tokenizer"]["quantizer"]["size"])
    except (KeyError, TypeError, ValueError):
        size = 1 << 20  # the tab itself will see
    return checkpoints.whole_number(value, "code", 0, size - 1)


def _seed(value: str, picks: Picks) -> int:
    return checkpoints.whole_number(value, "seed", 0, MAX_SEED)


def _ratio(value: str, picks: Picks) -> float:
    return checkpoints.number(value, "mask ratio", 0, 1)


def _prior(value: str, picks: Picks) -> str:
    from . import priors

    return _one_of(priors.names("text"), "prior that paints words", value)


def _prompt(value: str, picks: Picks) -> str:
    if len(value) > LONGEST:
        raise Refused(f"A prompt in a link has {LONGEST} characters at most, not {len(value):,}.")
    if not value.isprintable():
        raise Refused("A prompt in a link is one line of plain text.")
    return value


_READERS: dict[str, Callable[[str, Picks], Any]] = {
    "tab": _tab,
    "checkpoint": _checkpoint,
    "example": _example,
    "code": _code,
    "ratio": _ratio,
    "seed": _seed,
    "prior": _prior,
    "prompt": _prompt,
    "prompt_seed": _seed,
}

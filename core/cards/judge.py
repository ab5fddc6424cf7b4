"""Model cards of judges: their purpose, the command that trained them, and their own scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def judge_card(
    name: str,
    *,
    data: str,
    command: str,
    described: str,
    settings: Mapping[str, Any],
    scores: Mapping[str, float],
    pictures: int,
) -> str:
    """Return the card of a judge's bundle, Markdown with Hugging Face front matter.

    ``data``: the data set's name. ``command``: the arguments of train/judge.py, without settings.
    ``described``: a sentence about its output. ``settings``: ``steps``, ``pool``, ``size``, ``lr``
    and ``seed`` of its training. ``scores``: shares in [0, 1] on ``pictures`` held-out pictures, by
    label.
    """
    lines = [
        "---",
        "library_name: regvq-studio",
        "---",
        "",
        f"# {name}",
        "",
        f"A judge of RegVQ Studio, trained on the data set `{data}`. {described} It measures "
        "generated pictures and is not a model of its subject.",
        "",
        f"- **Command:** `python train/judge.py {command} --steps {settings['steps']} "
        f"--pool {settings['pool']} --size {settings['size']} --lr {settings['lr']:g} "
        f"--seed {settings['seed']}`",
        f"- **Its own score**, on {pictures} held-out pictures of {settings['size']} pixels:",
        "",
        "| | |",
        "|---|---|",
        *(f"| {label} | {value:.1%} |" for label, value in scores.items()),
    ]
    return "\n".join(lines) + "\n"

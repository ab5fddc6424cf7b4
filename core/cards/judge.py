"""Model cards of judges: their purpose, the command that trained them, and their own scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import license_of, render, table

TAGS = ("evaluation",)


def judge_card(
    name: str,
    *,
    data: str,
    purpose: str,
    command: str,
    settings: Mapping[str, Any],
    scores: Mapping[str, float],
    pictures: int,
) -> str:
    """Return the card of a judge's bundle.

    ``data``: the data set's name. ``purpose``: the end of a sentence, "it predicts …". ``command``:
    the arguments of train/judge.py without settings. ``settings``: those of ``steps``, ``pool``,
    ``size``, ``judged``, ``lr``, ``penalty`` and ``seed`` that its training has. ``scores``: shares
    in [0, 1] on ``pictures`` held-out pictures, by label.
    """
    terms = license_of({"data": {"name": data}})
    named = ("steps", "pool", "size", "judged", "lr", "penalty", "seed")
    flags = " ".join(f"--{key} {settings[key]}" for key in named if key in settings)
    return render(
        name,
        f"A judge of RegVQ Studio, trained on the data set `{data}`: {purpose} It measures "
        "generated pictures and does not generate any.",
        {
            "Command": f"`python train/judge.py {command} {flags}`",
            "License and terms": terms.terms,
        },
        (),
        [
            f"The judge's own score, on {pictures:,} held-out pictures of {settings['size']} "
            "pixels:",
            "",
            *table((label, f"{value:.1%}") for label, value in scores.items()),
        ],
        license=terms.license,
        tags=TAGS,
    )

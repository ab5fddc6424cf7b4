"""Figures into a bundle: its metrics.json, its card and its atlas, from one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.analysis.atlas import build_atlas
from core.cards import model_card
from core.checkpoints import Bundle, save_bundle
from core.tokenizer import Tokenizer


def publish_figures(
    bundle: Bundle,
    tokenizer: Tokenizer,
    report: Mapping[str, Any],
    counts: np.ndarray,
    note: Mapping[str, str | None],
) -> Bundle:
    """Write the bundle again, with the figures of ``report`` and the code ``counts`` (K,).

    ``note``: what its maker says of the training ``data``, the ``terms`` of use and the
    ``pictures`` evaluated on; what is None stays as the bundle has it. The card is written from
    these, never by hand.
    """
    recipe = dict(bundle.config.get("recipe", {}))
    for key in ("data", "terms"):
        if note.get(key):
            recipe[f"{key}_note"] = note[key]
    metrics = {"step": bundle.metrics.get("step"), **report}
    data = dict(metrics.get("data", {}))
    data["described"] = note.get("pictures") or bundle.metrics.get("data", {}).get("described")
    metrics["data"] = {key: value for key, value in data.items() if value is not None}
    source = f"{report['images']} {data['described'] or 'pictures of ' + str(data.get('name'))}"
    return save_bundle(
        bundle.path,
        tokenizer=tokenizer,
        card=model_card(recipe.get("name", bundle.name), tokenizer.config, recipe, metrics),
        metrics=metrics,
        atlas=build_atlas(tokenizer, source=source, counts=counts),
        recipe=recipe,
    )

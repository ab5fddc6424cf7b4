"""Writing figures and patches into a bundle: metrics.json, card and atlas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from regvq.analysis.atlas import build_atlas, extended_atlas, recount_invariant
from regvq.bundles.bundle import Bundle
from regvq.bundles.storage import rewrite_files, write_json
from regvq.cards.tokenizer import model_card
from regvq.tokenizer import Tokenizer


def publish_figures(
    bundle: Bundle,
    tokenizer: Tokenizer,
    report: Mapping[str, Any],
    counts: np.ndarray,
    note: Mapping[str, str | None],
) -> Bundle:
    """Write the bundle again, with the figures of ``report`` and the code ``counts`` (K,).

    ``note``: its maker's words on the training ``data``, the ``terms`` of use and the ``pictures``
    of the evaluation; an entry that is None remains as it is in the bundle. The card is always
    generated from these.
    """
    recipe = dict(bundle.config.get("recipe", {}))
    for key in ("data", "terms"):
        if note.get(key):
            recipe[f"{key}_note"] = note[key]
    metrics = {"step": bundle.metrics.get("step"), **report}
    data = dict(metrics.get("data", {}))
    data["described"] = note.get("pictures") or bundle.metrics.get("data", {}).get("described")
    metrics["data"] = {key: value for key, value in data.items() if value is not None}
    for key in ("patches", "validation"):  # of the weights, not of this evaluation
        if key in bundle.metrics:
            metrics[key] = bundle.metrics[key]
    source = f"{report['images']} {data['described'] or 'pictures of ' + str(data.get('name'))}"
    # The weights are unchanged, and with them the maps and patches of the atlas.
    return tokenizer.save_pretrained(
        bundle.path,
        card=model_card(recipe.get("name", bundle.name), tokenizer.config, recipe, metrics),
        metrics=metrics,
        atlas=recount_invariant(bundle.atlas)
        | build_atlas(tokenizer, source=source, counts=counts),
        recipe=recipe,
    )


def publish_patches(
    bundle: Bundle, tokenizer: Tokenizer, found: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Put real patches (``core.analysis.real_patches.gather_patches``) into a bundle.

    Metrics and card name their source; the weights are not touched.

    Returns the entry of the metrics: ``source``, ``pictures``, ``codes``, ``patches`` and
    ``bytes``. Raises ValueError for a bundle without an atlas.
    """
    described = describe_patches(found)
    metrics = {**bundle.metrics, "patches": described}
    recipe = bundle.config.get("recipe", {})
    card = model_card(recipe.get("name", bundle.name), tokenizer.config, recipe, metrics)
    files = {
        "atlas.npz": extended_atlas(bundle, found),
        "metrics.json": lambda file: write_json(file, metrics),
        "README.md": lambda file: file.write_text(card, encoding="utf-8"),
    }
    rewrite_files(bundle.path, files)
    return described


def describe_patches(found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the description of patches for a bundle's metrics and card."""
    return {
        "source": str(found["patches_source"]),
        "pictures": int(found["patches_pictures"]),
        "codes": int((found["patches_of"] > 0).sum()),
        "patches": int(found["patches_of"].sum()),
        "bytes": int(found["patches"].size),
    }

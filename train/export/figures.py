"""Writing figures and patches into a bundle: metrics.json, card and atlas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regvq.analysis.atlas import build_atlas, extended_atlas, recount_invariant
from regvq.bundles.bundle import Bundle
from regvq.bundles.storage import rewrite_files, write_json
from regvq.cards.tokenizer import model_card
from regvq.metrics.protocol import is_feature_distance
from regvq.tokenizer import Tokenizer

FURTHER = ("images", "tokens", "codes_used", "utilization", "perplexity", "bytes", "psnr", "ssim")
"""The figures of an evaluation on further pictures, beside those on pretrained features and
``robustness``; ``text``, which is drawn, is one of the bundle's own figures."""


def publish_figures(
    bundle: Bundle,
    tokenizer: Tokenizer,
    report: Mapping[str, Any],
    counts: np.ndarray,
    note: Mapping[str, str | None],
) -> Bundle:
    """Write the bundle again, with the figures of ``report`` and the code ``counts``: (K,), or
    (L, K) of a tokenizer with several levels, whose bundle has no atlas.

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
    for key in ("patches", "validation", "further", "text"):  # not of this evaluation's pictures
        if key in bundle.metrics and key not in report:
            metrics[key] = bundle.metrics[key]
    atlas: dict[str, np.ndarray] = {}
    source = f"{report['images']} {data['described'] or 'pictures of ' + str(data.get('name'))}"
    if tokenizer.levels == 1:
        # The weights are unchanged, and with them the maps and patches of the atlas.
        atlas = recount_invariant(bundle.atlas)
        atlas |= build_atlas(tokenizer, source=source, counts=counts)
    return tokenizer.save_pretrained(
        bundle.path,
        card=model_card(bundle.name, tokenizer.config, recipe, metrics),
        metrics=metrics,
        atlas=atlas or None,
        recipe=recipe,
        half="imported" not in recipe,  # whose ids must stay those of the original
    )


def publish_further(
    bundle: Bundle, tokenizer: Tokenizer, report: Mapping[str, Any], pictures: str | None
) -> None:
    """Add the figures of ``report`` to the bundle as those of further pictures.

    They replace earlier ones of the same pictures; ``pictures`` describes them. Weights, atlas and
    the figures of the bundle's own evaluation are not changed, except for those of drawn text.
    """
    data = dict(report["data"]) | ({"described": pictures} if pictures else {})
    kept_keys = (*FURTHER, "robustness")
    added = {"data": data} | {key: report[key] for key in kept_keys if key in report}
    added |= {key: value for key, value in report.items() if is_feature_distance(key)}
    earlier = bundle.metrics.get("further", [])
    kept = [row for row in earlier if row["data"] != data]
    metrics = {**bundle.metrics, "further": [*kept, added]}
    if "text" in report:
        metrics["text"] = report["text"]
    rewrite_files(bundle.path, _figures_and_card(bundle, tokenizer, metrics))


def _figures_and_card(
    bundle: Bundle, tokenizer: Tokenizer, metrics: Mapping[str, Any]
) -> dict[str, Callable[[Path], Any]]:
    """Return what writes a bundle's ``metrics`` and the card that states them, by file."""
    card = model_card(bundle.name, tokenizer.config, bundle.config.get("recipe", {}), metrics)
    return {
        "metrics.json": lambda file: write_json(file, metrics),
        "README.md": lambda file: file.write_text(card, encoding="utf-8"),
    }


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
    atlas = {"atlas.npz": extended_atlas(bundle, found)}
    rewrite_files(bundle.path, atlas | _figures_and_card(bundle, tokenizer, metrics))
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

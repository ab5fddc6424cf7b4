"""Judges: networks that the project trains to measure others, saved as bundles of kind "judge".

``load_judge(folder, Segmenter)`` and ``load_judge(folder, AttributeClassifier)`` read what
`python train/judge.py` wrote. A judge is measured before it measures: ``metrics.json`` holds its
own score on held-out pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..bundles.bundle import FORMAT, Bundle, CheckpointError, find_bundle
from ..bundles.storage import filled, stored, write_folder
from .attributes import AttributeClassifier, AttributesConfig
from .segmenter import Segmenter, SegmenterConfig

Judge = TypeVar("Judge", Segmenter, AttributeClassifier)
KIND = "judge"

_KINDS = {
    "segmenter": (SegmenterConfig, Segmenter),
    "attributes": (AttributesConfig, AttributeClassifier),
}


def save_judge(
    path: str | Path,
    judge: Segmenter | AttributeClassifier,
    *,
    data: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: str,
    recipe: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a judge's bundle to ``path``, in place of one that may be there (weights in half)."""
    name = next(name for name, (_, kind) in _KINDS.items() if isinstance(judge, kind))
    config = {
        "format": FORMAT,
        "kind": KIND,
        "judge": {"name": name, **asdict(judge.config)},
        "data": dict(data),
        "recipe": dict(recipe or {}),
    }
    write_folder(Path(path), config, stored(judge, half=True), card, metrics)
    return Bundle(Path(path).name, Path(path))


def load_judge(source: str | Path | Bundle, kind: type[Judge], device: str = "cpu") -> Judge:
    """The judge of a bundle, float32, in eval mode.

    Raises CheckpointError: a folder without one, one of another kind, weights that do not fit.
    """
    bundle = source if isinstance(source, Bundle) else find_bundle(source)
    file = bundle.path / "config.json"
    described = bundle.config.get("judge")
    wanted = next(name for name, (_, made) in _KINDS.items() if made is kind)
    if bundle.kind != KIND or not isinstance(described, dict):
        raise CheckpointError(
            f"{file} describes a {bundle.kind!r}, not a judge; "
            f"train one with python train/judge.py {wanted}."
        )
    settings = dict(described)
    name = settings.pop("name", None)
    if name != wanted or bundle.config.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} describes a judge {name!r} of format {bundle.config.get('format')}, where "
            f"{wanted!r} of format {FORMAT} is needed; train one with python train/judge.py "
            f"{wanted}."
        )
    try:
        judge = kind(_KINDS[wanted][0](**{key: _tuples(v) for key, v in settings.items()}))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not describe a judge: {error}.") from None
    judge = filled(judge, bundle.path / "model.safetensors").to(device)
    return judge.to(memory_format=torch.channels_last)


def _tuples(value: Any) -> Any:
    """JSON's lists back as the tuples that frozen configs hold."""
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value

"""The contract of judges: evaluation networks, which measure generated pictures.

A judge is evaluated itself: its bundle's ``metrics.json`` holds its score on held-out pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from ..bundles.bundle import FORMAT, Bundle, load_bundle, open_bundle
from ..bundles.storage import load_weights, state_for_disk, write_folder
from ..config import from_dict, to_dict
from ..errors import CheckpointError

Self = TypeVar("Self", bound="Judge")


class Judge(nn.Module):
    """An evaluation network, saved as a bundle of kind "judge" (`python train/judge.py KIND`)."""

    kind: ClassVar[str]
    """The name in config.json and on the command line. A published name never changes."""
    config_class: ClassVar[type]
    config: Any

    @classmethod
    def from_pretrained(cls: type[Self], source: str | Path | Bundle, device: str = "cpu") -> Self:
        """Load the judge of a bundle: float32, in eval mode, without gradients.

        ``source`` is a folder, or a repository of the Hugging Face Hub (``open_bundle``).
        Raises CheckpointError for a folder without a judge, a judge of another kind, or weights
        that are damaged or do not fit.
        """
        judge = load_bundle(open_bundle(source), cls._load).to(device)
        return judge.to(memory_format=torch.channels_last)

    @classmethod
    def _load(cls: type[Self], bundle: Bundle, sha256: str | None) -> Self:
        file = bundle.path / "config.json"
        described = bundle.config.get("judge")
        remedy = f"train one with python train/judge.py {cls.kind}."
        if bundle.kind != "judge" or not isinstance(described, dict):
            raise CheckpointError(f"{file} describes a {bundle.kind!r}, not a judge; {remedy}")
        name, version = described.get("name"), bundle.config.get("format")
        if name != cls.kind or version != FORMAT:
            raise CheckpointError(
                f"{file} describes a judge {name!r} of format {version}; {cls.kind!r} of format "
                f"{FORMAT} is needed; {remedy}"
            )
        try:
            judge = cls(from_dict(described, {cls.kind: cls.config_class}))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{file} does not describe a judge: {error}.") from None
        return load_weights(judge, bundle.path / "model.safetensors", sha256)

    def save_pretrained(
        self,
        path: str | Path,
        *,
        data: Mapping[str, Any],
        metrics: Mapping[str, Any],
        card: str,
        recipe: Mapping[str, Any] | None = None,
    ) -> Bundle:
        """Write the judge's bundle to ``path``, replacing one that exists; weights in float16."""
        config = {
            "format": FORMAT,
            "kind": "judge",
            "judge": to_dict(self.config, {self.kind: self.config_class}),
            "data": dict(data),
            "recipe": dict(recipe or {}),
        }
        write_folder(Path(path), config, state_for_disk(self, half=True), card, metrics)
        return Bundle(Path(path).name, Path(path))

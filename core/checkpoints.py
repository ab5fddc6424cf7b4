"""Checkpoint bundles: save, load, list.

A bundle is a folder with ``config.json``, ``model.safetensors``, ``README.md`` (the model card),
``metrics.json`` and ``atlas.npz`` (code statistics, computed once so that the app opens at once).
It is written beside its place and renamed, so that a reader sees the old bundle or the new one and
never half of one. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from core.tokenizer import Tokenizer, TokenizerConfig

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
RUNS = ROOT / "runs"
FORMAT = 1


class CheckpointError(ValueError):
    """A bundle is missing, broken or does not fit; one sentence with the file and the remedy."""


@dataclass(frozen=True)
class Bundle:
    """A checkpoint on disk. Its parts are read when they are asked for."""

    name: str
    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``: kind, architecture, and the recipe that trained it."""
        return _read_json(self.path / "config.json")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``, or nothing if the bundle was not evaluated."""
        file = self.path / "metrics.json"
        return _read_json(file) if file.exists() else {}

    @cached_property
    def card(self) -> str:
        """The model card, Markdown."""
        file = self.path / "README.md"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @cached_property
    def atlas(self) -> dict[str, np.ndarray]:
        """Code statistics (see ``core.analysis.atlas``), or nothing if they were not computed."""
        file = self.path / "atlas.npz"
        if not file.exists():
            return {}
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{file} cannot be read ({error}); make it again.") from None


def find_bundle(path: str | Path) -> Bundle:
    """The bundle at ``path``: a bundle folder, or a run folder that has one in ``bundle/``."""
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / "config.json").is_file():
            return Bundle(path.name, folder)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; name a folder that has config.json.")
    raise CheckpointError(f"{path} is no checkpoint: it has no config.json.")


def list_bundles(*roots: str | Path) -> list[Bundle]:
    """Bundles below ``roots``, by name; a folder that is no bundle is passed over.

    Without roots: those shipped in ``checkpoints/``, those of the owner's folder
    ``$REGVQ_CHECKPOINTS``, and those of the runs in ``runs/`` (named ``runs/NAME``).
    """
    if roots:
        places = [(Path(root), "") for root in roots]
    else:
        extra = os.environ.get("REGVQ_CHECKPOINTS")
        places = [(CHECKPOINTS, ""), *([(Path(extra), "")] if extra else []), (RUNS, "runs/")]
    found: dict[str, Bundle] = {}
    for root, prefix in places:
        if not root.is_dir():
            continue
        for folder in sorted(entry for entry in root.iterdir() if entry.is_dir()):
            try:
                bundle = find_bundle(folder)
            except CheckpointError:
                continue
            found.setdefault(prefix + folder.name, Bundle(prefix + folder.name, bundle.path))
    return list(found.values())


def load_tokenizer(source: str | Path | Bundle, device: str = "cpu") -> Tokenizer:
    """The tokenizer of a bundle, float32, in eval mode.

    Raises ``CheckpointError`` for a folder without one, another format, or weights that do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from core.tokenizer import Tokenizer

    bundle = source if isinstance(source, Bundle) else find_bundle(source)
    config = bundle.config
    if config.get("kind") != "tokenizer":
        raise CheckpointError(
            f"{bundle.path / 'config.json'} describes a {config.get('kind', 'nothing known')!r}, "
            "not a tokenizer."
        )
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"{bundle.path / 'config.json'} is of format {config.get('format')}; "
            f"this version reads format {FORMAT}."
        )
    tokenizer = Tokenizer(tokenizer_config(config.get("tokenizer"), bundle.path / "config.json"))
    file = bundle.path / "model.safetensors"
    try:
        weights = load_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing; the bundle is incomplete.") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); fetch it again.") from None
    try:
        tokenizer.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{file} does not fit its config.json: {reason}") from None
    return tokenizer.requires_grad_(False).eval().to(device)


def save_bundle(
    path: str | Path,
    *,
    tokenizer: Tokenizer,
    card: str = "",
    metrics: Mapping[str, Any] | None = None,
    atlas: Mapping[str, np.ndarray] | None = None,
    recipe: Mapping[str, Any] | None = None,
    half: bool = True,
) -> Bundle:
    """Write a bundle to ``path``, in place of one that may be there.

    ``half`` stores floating-point weights in float16, except those of the quantizer: rounding codes
    moves picture positions to other codes, rounding convolutions costs nothing measurable.
    """
    from safetensors.torch import save_file

    state = {}
    for name, tensor in tokenizer.state_dict().items():
        shrink = half and tensor.is_floating_point() and not name.startswith("quantizer.")
        tensor = tensor.detach().cpu()
        state[name] = (tensor.half() if shrink else tensor).contiguous()
    config = {
        "format": FORMAT,
        "kind": "tokenizer",
        "tokenizer": describe_tokenizer(tokenizer.config),
        "recipe": dict(recipe or {}),
    }
    path = Path(path)
    fresh = path.with_name(path.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(state, fresh / "model.safetensors")
    write_json(fresh / "config.json", config)
    (fresh / "README.md").write_text(card, encoding="utf-8")
    write_json(fresh / "metrics.json", dict(metrics or {}))
    if atlas:
        np.savez_compressed(fresh / "atlas.npz", **atlas)
    replace_folder(fresh, path)
    return Bundle(path.name, path)


def describe_tokenizer(config: TokenizerConfig) -> dict[str, Any]:
    """A tokenizer's config as JSON: nested dictionaries, the quantizer tagged with its name."""
    from core.quantizers import QUANTIZERS

    name = next(key for key, kind in QUANTIZERS.items() if isinstance(config.quantizer, kind))
    settings = asdict(config.quantizer)
    # A file that training began from is its maker's affair; what it held is in the weights.
    settings = {key: value for key, value in settings.items() if not isinstance(value, Path)}
    return {"network": asdict(config.network), "quantizer": {"name": name, **settings}}


def tokenizer_config(described: Any, file: Path | str = "config.json") -> TokenizerConfig:
    """The inverse of ``describe_tokenizer``. Raises ``CheckpointError`` naming ``file``."""
    from core.networks.autoencoder import NetworkConfig
    from core.quantizers import QUANTIZERS
    from core.tokenizer import TokenizerConfig

    try:
        network = dict(described["network"])
        network["widths"] = tuple(network["widths"])
        quantizer = dict(described["quantizer"])
        kind = QUANTIZERS[quantizer.pop("name")]
        unknown = set(quantizer) - {f.name for f in fields(kind)}
        if unknown:
            raise ValueError(f"unknown quantizer setting {', '.join(sorted(unknown))}")
        return TokenizerConfig(NetworkConfig(**network), kind(**quantizer))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not describe a tokenizer: {error}.") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside ``path`` and rename, so that ``path`` is never half written."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return value


def replace_folder(fresh: Path, path: Path) -> None:
    """Put the folder ``fresh`` in the place of ``path``, which may be there already.

    Stopped between the two renames, what was there is still beside it, as ``path.old``.
    """
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(fresh, path)
    shutil.rmtree(old, ignore_errors=True)


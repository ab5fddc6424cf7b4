"""The state of a run on disk: tensors in safetensors, numbers in JSON, nothing pickled.

A state is a folder. It is written under another name and then renamed, so that an interruption
leaves the last complete one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from regvq.bundles.storage import replace_folder
from regvq.errors import CheckpointError

Part = nn.Module | torch.optim.Optimizer


def save_state(folder: Path, parts: Mapping[str, Part], numbers: Mapping[str, Any]) -> None:
    """Write modules and optimizers, by name, and ``numbers`` (JSON) to ``folder``."""
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        for key, value in _flatten(part).items():
            tensors[f"{name}/{key}"] = value.detach().cpu().contiguous().clone()
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(tensors, fresh / "state.safetensors")
    (fresh / "state.json").write_text(json.dumps(numbers), encoding="utf-8")
    replace_folder(fresh, folder)


def has_state(folder: Path) -> bool:
    """Return True if ``load_state`` would find a state in ``folder``."""
    return folder.exists() or folder.with_name(folder.name + ".old").exists()


def load_state(folder: Path, parts: Mapping[str, Part]) -> dict[str, Any] | None:
    """Load a saved state into ``parts`` and return its numbers; None if there is no state.

    Raises CheckpointError if the state is broken or of another architecture.
    """
    if not has_state(folder):
        return None
    if not folder.exists():  # interrupted between the two renames
        folder = folder.with_name(folder.name + ".old")
    try:
        numbers = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "state.safetensors")
        for name, part in parts.items():
            start = f"{name}/"
            _restore(part, {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{folder} cannot be resumed ({reason}); choose another --out or remove it."
        ) from None
    return numbers


def _flatten(part: Part) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.state_dict()
    state = part.state_dict()["state"]
    return {
        f"{index}/{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
    }


def _restore(part: Part, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
    for parameter, entry in part.state.items():
        for key, value in entry.items():
            if value.shape == parameter.shape:  # fused kernels need one memory layout
                entry[key] = torch.empty_like(parameter).copy_(value)

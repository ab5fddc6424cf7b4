"""The state of a run on disk: tensors in safetensors, numbers in JSON, nothing pickled.

A state is a folder. It is replaced as a whole (``regvq.bundles.replacement``), so that a whole
state is there at any instant. ``state.json`` states the SHA-256 of the tensors and of itself, which
are checked when the state is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from regvq.bundles.checksums import digest_of
from regvq.bundles.replacement import present, repair, replacing
from regvq.bundles.storage import CHECKSUMS, read_json, save_tensors, write_sealed
from regvq.errors import CheckpointError

Part = nn.Module | torch.optim.Optimizer

TENSORS, NUMBERS = "state.safetensors", "state.json"


def save_state(
    folder: Path,
    parts: Mapping[str, Part],
    numbers: Mapping[str, Any],
    further: Mapping[str, Tensor] | None = None,
) -> None:
    """Write modules and optimizers, by name, ``numbers`` (JSON) and ``further`` tensors.

    Raises OSError, which names the file; the last state is then kept.
    """
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        for key, value in _flatten(part).items():
            tensors[f"{name}/{key}"] = value.detach().cpu().contiguous().clone()
    tensors |= {name: value.detach().cpu().contiguous() for name, value in (further or {}).items()}
    with replacing(folder) as fresh:
        save_tensors(tensors, fresh / TENSORS)
        checksums = {TENSORS: digest_of(fresh / TENSORS)}
        write_sealed(fresh / NUMBERS, {**numbers, CHECKSUMS: checksums})


def has_state(folder: Path) -> bool:
    """Return True if ``load_state`` would find a state in ``folder``."""
    return present(folder).exists()


def load_state(
    folder: Path, parts: Mapping[str, Part], further: dict[str, Tensor] | None = None
) -> dict[str, Any] | None:
    """Load a saved state into ``parts`` and return its numbers; None if there is no state.

    Tensors that belong to none of the parts are put into ``further``. Raises CheckpointError if the
    state is damaged or of another architecture.
    """
    if not has_state(folder):
        return None
    folder = present(folder)
    try:
        numbers = read_json(folder / NUMBERS)
        checksums = numbers.pop(CHECKSUMS, None)
        numbers.pop("sha256", None)
        if checksums is None:
            print(f"The state in {folder} is older than checksums: it is not checked for damage.")
        elif digest_of(folder / TENSORS) != checksums.get(TENSORS):
            raise ValueError(
                f"{TENSORS} is damaged or of another state: its SHA-256 is not that in {NUMBERS}"
            )
        tensors = load_file(folder / TENSORS)
        for name, part in parts.items():
            start = f"{name}/"
            _restore(part, {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)})
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise CheckpointError(
            f"{folder} cannot be resumed ({reason}); choose another --out or remove it."
        ) from None
    if further is not None:
        names = tuple(f"{name}/" for name in parts)
        further |= {k: v for k, v in tensors.items() if not k.startswith(names)}
    return numbers


def repair_state(folder: Path) -> None:
    """Put the last state back if saving a new one was interrupted, and remove what it left.

    Only the process that holds the run's lock may call this.
    """
    repair(folder)


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

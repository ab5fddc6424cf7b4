"""Weights of pretrained networks: from a file, from torch's cache, or downloaded; no pickles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import FeatureError


def find_weights(what: str, name: str, url: str, weights: str | Path | None, flag: str) -> Path:
    """Return the file of weights: ``weights`` if given, else the file ``name`` in torch's cache.

    A file that is not in the cache is downloaded from ``url``. As usual for torch, its name ends
    with the first digits of its SHA-256, which are checked. Raises FeatureError, which describes
    the weights by ``what`` and states the ``flag`` that names a file.
    """
    if weights is not None:
        if not Path(weights).is_file():
            raise FeatureError(f"the weights file {weights} does not exist.")
        return Path(weights)
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        prefix = file.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(file), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise FeatureError(
            f"{what} ({name}) are not in {file.parent} and cannot be downloaded ({reason}); "
            f"download that file elsewhere and put it there, or name it with {flag} FILE."
        ) from None
    return file


def verified(file: Path, prefix: str) -> bool:
    """Return True if the file's SHA-256 starts with ``prefix``: it is the published file."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest().startswith(prefix)


def half_digest(state: Mapping[str, Tensor], prefix: str) -> str:
    """Return the SHA-256 of the tensors whose names start with ``prefix``, rounded to float16.

    It is the same for every file format and for float32 and float16, so that it recognizes weights
    that were converted.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name in state if name.startswith(prefix)):
        digest.update(name.encode() + state[name].half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_fits(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], origin: str, what: str
) -> None:
    """Raise FeatureError unless ``state`` has a tensor of each name and shape of ``expected``.

    ``origin`` describes the weights, ``what`` the network that they should be of.
    """
    if missing := set(expected) - set(state):
        raise FeatureError(f"{origin} lacks {min(missing)}: it does not hold {what}.")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            found, wanted = (" x ".join(map(str, each.shape)) for each in (state[name], tensor))
            found = found or "a number"
            raise FeatureError(
                f"{origin} does not hold {what}: {name} is {found} there, not {wanted}."
            )


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors of an .npz, .safetensors or .pth file by name.

    Raises FeatureError if the file is missing or broken, or holds something else.
    """
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FeatureError(f"the weights file {file} does not exist.") from None
    except Exception as error:  # each reader raises its own types
        reason = " ".join(str(error).split()).partition(". ")[0][:160]
        raise FeatureError(f"the weights file {file} cannot be read: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise FeatureError(f"the weights file {file} does not hold tensors by name.")
    return dict(state)

"""The selection of a file's tensors that are the tokenizer: from the right dictionary, averaged or
not, without prefixes, losses and optimizers."""

from __future__ import annotations

from typing import Any

from ..errors import CheckpointError
from .archives import MAX_NAME, WeightsFile

_PREFIXES = ("first_stage_model.", "module.", "_orig_mod.")
"""Of names: a tokenizer within latent diffusion or a transformer, and what torch's wrappers add."""
_OTHERS = (
    *("loss.", "model_ema.", "lr_scheduler.", "discriminator.", "inception_model."),
    *("quantize.codebook_used", "quantize.embedding.cluster_size", "quantize.embedding.embed_avg"),
    *("colorize", "model.", "cond_stage_model.", "logvar", "scale_factor"),
)
"""Names that start like this are no part of encoder, codebook and decoder."""


def select_state(file: WeightsFile, ema: bool | None) -> tuple[dict[str, Any], list[str]]:
    """Return the tokenizer's tensors by name (as leaves of the file's tree), and what was chosen.

    ema: True or False demands averaged weights, or the plain ones; None takes averaged ones where
    there are any. Raises CheckpointError if the file has no such weights.
    """
    named, notes = _container(file, ema)
    state = {
        name: leaf
        for name, leaf in named.items()
        if isinstance(name, str) and len(name) <= MAX_NAME and file.is_tensor(leaf)
    }
    for prefix in _PREFIXES:
        inside = {name[len(prefix) :]: x for name, x in state.items() if name.startswith(prefix)}
        if any(name.startswith("encoder.") for name in inside):
            state = inside | {
                name: x for name, x in state.items() if prefix == "module." and "ema." in name
            }
    averaged = {name: x for name, x in state.items() if name.startswith("model_ema.")}
    plain = {name: x for name, x in state.items() if not name.startswith(_OTHERS)}
    if averaged and not any(name.startswith("encoder.") for name in plain):
        raise CheckpointError(
            f"{file.file} holds averaged weights alone, whose names have lost their dots; the "
            "plain weights, which say what is what, are missing."
        )
    if averaged and ema is not False:
        # LitEma writes the names without dots, and averages only what is trained.
        found = {name: averaged.get("model_ema." + name.replace(".", "")) for name in plain}
        replaced = {name: leaf for name, leaf in found.items() if leaf is not None}
        plain |= replaced
        notes.append(f"averaged weights (EMA) for {len(replaced)} of {len(plain)} tensors")
    elif ema and not notes:
        raise CheckpointError(f"{file.file} holds no averaged weights; use --no-ema.")
    return plain, notes


def _container(file: WeightsFile, ema: bool | None) -> tuple[dict[str, Any], list[str]]:
    """Return the dictionary of tensors in the file's tree."""
    tree = file.tree
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{file.file} holds a pickled object instead of a dictionary of weights; save its "
            "state_dict() where its code is."
        )
    inner = {key: tree[key] for key in ("state_dict", "model", "ema") if _holds(file, tree, key)}
    if "ema" in inner and ema is not False:
        return inner["ema"], ["averaged weights (EMA)"]
    if "ema" in inner and "model" not in inner and "state_dict" not in inner:
        raise CheckpointError(f"{file.file} holds averaged weights alone; leave --no-ema out.")
    for key in ("state_dict", "model"):
        if key in inner:
            return inner[key], []
    if not any(file.is_tensor(leaf) for leaf in tree.values()):
        keys = ", ".join(repr(key)[:40] for key in list(tree)[:5]) or "nothing"
        raise CheckpointError(f"{file.file} holds no dictionary of weights (it has {keys}).")
    return tree, []


def _holds(file: WeightsFile, tree: dict[str, Any], key: str) -> bool:
    inside = tree.get(key)
    return isinstance(inside, dict) and any(file.is_tensor(leaf) for leaf in inside.values())

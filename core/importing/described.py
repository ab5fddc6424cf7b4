"""The YAML or JSON that belongs to a checkpoint: read, and compared with what its shapes say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..networks.vqgan import VQGANConfig

MAX_FILE = 2**20
_DDCONFIG = {"z_channels": "z_channels", "num_res_blocks": "blocks"}
_VQMODEL = {
    "layers_per_block": "blocks", "latent_channels": "z_channels", "norm_type": "decoder_norm",
    "mid_block_add_attention": "middle_attention",
}  # fmt: skip
_MASKGIT = {"num_res_blocks": "blocks", "z_channels": "z_channels"}
_IMPOSSIBLE = {
    "double_z": "it is a continuous autoencoder (double_z)",
    "remap": "its ids are remapped (remap)",
    "l2_normalize": "it chooses codes by cosine but decodes them as they are (l2_normalize)",
    "use_conv_shortcut": "its blocks have 3x3 shortcuts (use_conv_shortcut)",
}


@dataclass
class Described:
    """The settings that a file states, by the names of ``VQGANConfig``; ``codes`` is the codebook's
    size."""

    file: Path
    settings: dict[str, Any] = field(default_factory=dict)
    groups: int | None = None
    quantizer: str | None = None
    impossible: str | None = None

    def disagreements(self, network: VQGANConfig, codes: int) -> list[str]:
        """Return where the file and the weights differ, a phrase each."""
        have = {**vars(network), "codes": codes}
        return [
            f"{name} is {_shown(stated)} there and {_shown(have[name])} in the weights"
            for name, stated in self.settings.items()
            if stated is not None and stated != have[name]
        ]


def read_described(file: Path) -> Described:
    """Return what a config file states. Raises CheckpointError for one that cannot be read or
    describes no tokenizer of the known families."""
    content = _load(file)
    found = Described(file)
    if content.get("_class_name") == "VQModel" or "block_out_channels" in content:
        _read_vqmodel(content, found)
    elif "hidden_channels" in content and "channel_mult" in content:
        _read_maskgit(content, found)
    elif (model := _with_ddconfig(content)) is not None:
        _read_taming(model[0], model[1], found)
    else:
        raise CheckpointError(
            f"{file} describes no tokenizer: it has neither a ddconfig (taming, IBQ, SimVQ, "
            "Open-MAGVIT2) nor block_out_channels (diffusers) nor hidden_channels (MaskGIT)."
        )
    return found


def _load(file: Path) -> dict[str, Any]:
    import yaml

    try:
        if file.stat().st_size > MAX_FILE:
            raise CheckpointError(f"{file} is too large for a config ({MAX_FILE:,} bytes at most).")
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{file} cannot be read as a config ({reason}).") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no settings.")
    return content


def _with_ddconfig(content: Mapping[str, Any], depth: int = 0) -> tuple[Mapping, str] | None:
    """Return the mapping around ``ddconfig``, and the class that it configures."""
    if isinstance(content.get("ddconfig"), Mapping):
        return content, ""
    # A file of latent diffusion has two models: the tokenizer is its first stage.
    for key in ("first_stage_config", "model", "params", "init_args", "first_stage_model"):
        inside = content.get(key)
        if isinstance(inside, Mapping) and depth < 6:
            found = _with_ddconfig(inside, depth + 1)
            if found is not None:
                return found[0], found[1] or str(
                    content.get("class_path") or content.get("target") or ""
                )
    return None


def _read_taming(model: Mapping[str, Any], kind: str, found: Described) -> None:
    network = model["ddconfig"]
    inner = model.get("quantconfig") or {}
    quantizer = inner if isinstance(inner, Mapping) else {}
    for key in ("params", "init_args"):
        if isinstance(quantizer.get(key), Mapping):
            quantizer = quantizer[key]
    settings = found.settings
    for theirs, ours in _DDCONFIG.items():
        settings[ours] = _number(network.get(theirs))
    settings["latent_dim"] = _number(model.get("embed_dim", quantizer.get("e_dim")))
    settings["codes"] = _number(model.get("n_embed", quantizer.get("n_e")))
    width, multipliers = _number(network.get("ch")), _numbers(network.get("ch_mult"))
    if width is not None and multipliers is not None:
        settings["widths"] = tuple(width * each for each in multipliers)
    side, sides = _number(network.get("resolution")), _numbers(network.get("attn_resolutions"))
    if side is not None and sides is not None and multipliers is not None:
        levels = range(len(multipliers))
        settings["attention_levels"] = tuple(i for i in levels if side // 2**i in sides)
    for name, reason in _IMPOSSIBLE.items():
        if any(place.get(name) for place in (network, model, quantizer)):
            found.impossible = reason
    if "IBQ" in kind.rpartition(".")[2]:
        found.quantizer = "ibq"
    elif kind.rpartition(".")[2] == "VQModel" and ".lfqgan" not in kind:
        found.quantizer = "vq"


def _read_vqmodel(content: Mapping[str, Any], found: Described) -> None:
    settings = found.settings
    for theirs, ours in _VQMODEL.items():
        settings[ours] = content.get(theirs)
    settings["widths"] = _numbers(content.get("block_out_channels"))
    settings["latent_dim"] = _number(content.get("vq_embed_dim")) or settings["z_channels"]
    settings["codes"] = _number(content.get("num_vq_embeddings"))
    down, up = content.get("down_block_types"), content.get("up_block_types")
    if isinstance(down, list) and isinstance(up, list):
        levels = [i for i, kind in enumerate(down) if str(kind).startswith("Attn")]
        other = [len(up) - 1 - i for i, kind in enumerate(up) if str(kind).startswith("Attn")]
        settings["attention_levels"] = tuple(levels)
        if sorted(other) != levels:
            found.impossible = "its decoder has attention at other levels than its encoder"
    if content.get("act_fn", "silu") not in ("silu", "swish"):
        found.impossible = f"its activation is {str(content.get('act_fn'))[:40]!r}, not SiLU"
    if content.get("in_channels", 3) != 3 or content.get("out_channels", 3) != 3:
        found.impossible = "its pictures do not have three channels"
    found.groups = _number(content.get("norm_num_groups"))
    found.quantizer = "vq"


def _read_maskgit(content: Mapping[str, Any], found: Described) -> None:
    settings = found.settings
    for theirs, ours in _MASKGIT.items():
        settings[ours] = _number(content.get(theirs))
    width, multipliers = _number(content["hidden_channels"]), _numbers(content["channel_mult"])
    if width is not None and multipliers is not None:
        settings["widths"] = tuple(width * each for each in multipliers)
    settings["codes"] = _number(content.get("num_embeddings"))
    settings["latent_dim"] = _number(content.get("quantized_embed_dim"))


def _number(value: Any) -> int | None:
    return value if type(value) is int else None


def _numbers(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, (list, tuple)) and all(type(each) is int for each in value):
        return tuple(value)
    return None


def _shown(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)[:80]

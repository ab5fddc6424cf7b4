"""A tokenizer as a folder that diffusers' ``VQModel.from_pretrained`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..bundles.replacement import replace_folder
from ..bundles.storage import write_json
from ..errors import CheckpointError
from ..importing.names import DIFFUSERS, split_attention
from ..networks.vqgan import VQGANConfig
from ..quantizers import VQConfig
from ..tokenizer import Tokenizer, TokenizerConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"


def export_to_diffusers(tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``config.json`` and safetensors weights; ``folder`` must be new or empty.

    diffusers has no value range: a tokenizer of the range "unit" takes and paints pixels in [0, 1]
    there. Raises CheckpointError for a tokenizer that a VQModel cannot express, with the reason.
    """
    from safetensors.torch import save_file

    config = vqmodel_config(tokenizer.config)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} is not empty; name a new folder.")
    fresh = folder.with_name(folder.name + ".new")
    fresh.mkdir(parents=True, exist_ok=True)
    save_file(vqmodel_state(tokenizer), fresh / WEIGHTS, metadata={"format": "pt"})
    write_json(fresh / "config.json", config)
    replace_folder(fresh, folder)


def vqmodel_config(config: TokenizerConfig) -> dict[str, Any]:
    """Return the ``config.json`` of the VQModel. Raises CheckpointError if there is none."""
    network, quantizer = config.network, config.quantizer
    reasons: list[str] = []
    if not isinstance(network, VQGANConfig):
        raise CheckpointError(
            "this tokenizer cannot be written as a VQModel of diffusers: its network folds pixels "
            "into channels and has no counterpart there; --to onnx and --to torch-export take it."
        )
    if not isinstance(quantizer, VQConfig) or quantizer.distance != "euclidean":
        reasons.append("its codes are not the nearest ones (quantizer vq, distance euclidean)")
    if config.levels.count > 1:
        reasons.append(f"a position has {config.levels.count} ids")
    if network.decoder_blocks != network.blocks + 1:
        reasons.append("its decoder does not have one block per level more than its encoder")
    if network.middle_blocks != 2:
        reasons.append(f"it has {network.middle_blocks} middle blocks and not 2")
    for name, wanted in (
        ("quant_conv", True), ("bias", True), ("out_kernel", 3), ("downsample", "asymmetric"),
        ("upsample", "nearest"), ("skip", "input"),
    ):  # fmt: skip
        if getattr(network, name) != wanted:
            reasons.append(f"network.{name} is {getattr(network, name)}")
    if network.decoder_norm == "adaptive":
        reasons.append("network.decoder_norm is adaptive")
    if network.decoder_norm == "spatial" and network.latent_dim != network.z_channels:
        reasons.append("its spatial norms read codes of another length")
    if reasons:
        raise CheckpointError(
            "this tokenizer cannot be written as a VQModel of diffusers: "
            f"{'; '.join(reasons)}; --to onnx and --to torch-export take it."
        )
    levels = range(len(network.widths))
    attention = [level in network.attention_levels for level in levels]
    return {
        "_class_name": "VQModel",
        "act_fn": "silu",
        "block_out_channels": list(network.widths),
        "down_block_types": [
            "AttnDownEncoderBlock2D" if here else "DownEncoderBlock2D" for here in attention
        ],
        "up_block_types": [
            "AttnUpDecoderBlock2D" if here else "UpDecoderBlock2D" for here in attention[::-1]
        ],
        "in_channels": config.channels,
        "out_channels": config.channels,
        "latent_channels": network.z_channels,
        "layers_per_block": network.blocks,
        "mid_block_add_attention": network.middle_attention,
        "norm_num_groups": network.groups,
        "norm_type": network.decoder_norm,
        "num_vq_embeddings": quantizer.size,
        "vq_embed_dim": network.latent_dim,
    }


def vqmodel_state(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Return the tokenizer's weights by diffusers' names."""
    levels = len(tokenizer.config.network.widths)
    ours = {name: x.detach().cpu() for name, x in tokenizer.state_dict().items()}
    table = {"quantizer.codes.weight": ours.pop("quantizer.codes")}
    ours = {name: x for name, x in ours.items() if not name.startswith("quantizer.")} | table
    return _named(split_attention(ours), levels)


def _named(ours: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    state = {}
    for name, tensor in ours.items():
        module, _, leaf = name.rpartition(".")
        theirs = DIFFUSERS.to_theirs(module, levels)
        assert theirs is not None, name  # the config was checked: every layer has a name there
        state[f"{theirs}.{leaf}"] = tensor.contiguous()
    return state

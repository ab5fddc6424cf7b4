"""This project's tokenizer, and diffusers' VQModel of the same downsampling and size.

VQModel is as diffusers builds it, with an attention in the middle and one block per level; its
widths are the ones that come nearest to our number of weights. Its encoder works on single pixels,
ours folds the pixels of a square into channels first: the ratio is that of the two designs.
"""

from __future__ import annotations

from typing import Any

PEER_WIDTHS = {4: (32, 64, 80), 8: (32, 64, 64, 128)}
"""Widths of VQModel by downsampling."""
OWN_WIDTHS = {4: (64, 128), 8: (48, 96, 192)}
"""Widths of our network by downsampling: those of the scenes' recipes, and the default."""
DIM, CODES = 32, 1024


def own_config(downsampling: int = 4, size: int = CODES) -> Any:
    """Return the config of our tokenizer with nearest codes."""
    from core.networks.autoencoder import NetworkConfig
    from core.quantizers import VQConfig
    from core.tokenizer import TokenizerConfig

    network = NetworkConfig(widths=OWN_WIDTHS[downsampling], latent_dim=DIM)
    return TokenizerConfig(network, VQConfig(size=size))


def vq_model(downsampling: int = 4, size: int = CODES) -> Any:
    """Return diffusers' VQModel with new weights."""
    from diffusers import VQModel

    widths = PEER_WIDTHS[downsampling]
    return VQModel(
        block_out_channels=widths,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        norm_num_groups=16,
        latent_channels=DIM,
        vq_embed_dim=DIM,
        num_vq_embeddings=size,
    )


def weights(*modules: Any) -> int:
    """Return the number of weights of modules."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())

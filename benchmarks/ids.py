"""The methods of ``lookup.py``: functions that build a method and return one call of it."""

from __future__ import annotations

from typing import Any

from kinds import PEERS, own_config, peer_module
from measuring import Build, Call, Methods
from method_tables import OURS, PEER


def _rows(z: Any) -> Any:
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def _codes(z: Any, size: int) -> Any:
    import torch

    return torch.randn(size, z.shape[1], device=z.device) * z.shape[1] ** -0.5


def _without_gradient(module: Any, z: Any) -> Call:
    import torch

    module = module.to(z.device).eval()

    def call() -> Any:
        with torch.no_grad():
            return module(z)

    return call


# The ids of the nearest codes, of rows that are there already


def lookup_ours(z: Any, size: int) -> Call:
    """Build ``core.quantizers.tiled.lookup.nearest_code``."""
    from core.quantizers.tiled.lookup import nearest_code

    rows, codes = _rows(z), _codes(z, size)
    return lambda: nearest_code(rows, codes)


def lookup_plain(z: Any, size: int) -> Call:
    """Build the same lookup without the Triton kernel, its reference on a GPU."""
    import torch

    from core.quantizers.tiled.lookup import plain_best_code

    rows, codes = _rows(z), _codes(z, size)

    def call() -> Any:
        with torch.no_grad():
            return plain_best_code(rows, codes, -0.5 * codes.square().sum(1))

    return call


def lookup_textbook(z: Any, size: int) -> Call:
    """Build the formula of taming-transformers and the projects derived from it."""
    import torch
    from textbook import distances

    rows, codes = _rows(z), _codes(z, size)

    def call() -> Any:
        with torch.no_grad():
            return distances(rows, codes).argmin(1)

    return call


def lookup_peer(z: Any, size: int) -> Call:
    """Build vector-quantize-pytorch's VectorQuantize in eval mode."""
    return _without_gradient(peer_module("vq-ema", z.shape[1], size), _rows(z)[None])


def lookup_diffusers(z: Any, size: int) -> Call:
    """Build diffusers' VectorQuantizer, forward without gradient."""
    from diffusers.models.autoencoders.vae import VectorQuantizer

    return _without_gradient(VectorQuantizer(size, z.shape[1], beta=0.25, legacy=False), z)


# The whole quantizer in eval mode: ids and the decoder's input


def eval_ours(kind: str) -> Build:
    """Return the builder of our quantizer of a kind, in eval mode."""

    def build(z: Any, size: int) -> Call:
        return _without_gradient(own_config(kind, size).build(z.shape[1]), z)

    return build


def eval_peer(kind: str) -> Build:
    """Return the builder of vector-quantize-pytorch's."""

    def build(z: Any, size: int) -> Call:
        module = peer_module(kind, z.shape[1], size)
        return _without_gradient(module, z.flatten(2).transpose(1, 2))

    return build


METHODS: Methods = {
    "nearest code": {
        OURS: lookup_ours,
        f"{OURS} without Triton": lookup_plain,
        "textbook": lookup_textbook,
        PEER: lookup_peer,
        "diffusers": lookup_diffusers,
    },
    **{
        kind: {OURS: eval_ours(kind), PEER: eval_peer(kind)}
        for kind in PEERS
        if kind != "vq-ema"  # of the same ids as vq
    },
}

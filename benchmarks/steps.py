"""The methods of ``training.py``: functions that build a method and return one training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kinds import OWN, PEERS, own_config, peer_module
from measuring import Build, Call, Methods
from method_tables import OURS, PEER
from textbook import FORMS


def _step(z: Any, module: Any, forward: Callable[[Any], tuple[Any, Any]]) -> Call:
    """Return a training step; ``forward(leaf)`` returns the decoder's input and the loss."""
    import torch

    towards = torch.randn_like(z)

    def call() -> None:
        leaf = z.clone().requires_grad_()
        for parameter in module.parameters():
            parameter.grad = None
        out, loss = forward(leaf)
        ((out * towards).sum() + loss).backward()

    return call


def train_ours(kind: str) -> Build:
    """Return the builder of this project's quantizer."""

    def build(z: Any, size: int) -> Call:
        module = own_config(kind, size).build(z.shape[1]).to(z.device)

        def forward(leaf: Any) -> tuple[Any, Any]:
            out = module(leaf)
            module.update(leaf.detach(), out.ids)
            return out.z, sum(out.losses.values())

        return _step(z, module, forward)

    return build


def train_textbook(kind: str) -> Build:
    """Return the builder of the textbook formulas."""

    def build(z: Any, size: int) -> Call:
        import textbook

        module = textbook.build(kind, size, z.shape[1], z.device)

        def forward(leaf: Any) -> tuple[Any, Any]:
            batch, dim, height, width = leaf.shape
            rows = leaf.permute(0, 2, 3, 1).reshape(-1, dim)
            out, loss = FORMS[kind](module, rows)
            return out.view(batch, height, width, dim).permute(0, 3, 1, 2), loss

        return _step(z, module, forward)

    return build


def train_peer(kind: str) -> Build:
    """Return the builder of vector-quantize-pytorch's module."""

    def build(z: Any, size: int) -> Call:
        module = peer_module(kind, z.shape[1], size).to(z.device)

        def forward(leaf: Any) -> tuple[Any, Any]:
            out, _, *losses = module(leaf.flatten(2).transpose(1, 2))  # FSQ has no loss
            return out.transpose(1, 2).reshape(leaf.shape), losses[0].sum() if losses else 0

        return _step(z, module, forward)

    return build


def train_diffusers(z: Any, size: int) -> Call:
    """Build diffusers' VectorQuantizer."""
    from diffusers.models.autoencoders.vae import VectorQuantizer

    module = VectorQuantizer(size, z.shape[1], beta=0.25, legacy=False).to(z.device)
    return _step(z, module, lambda leaf: module(leaf)[:2])


METHODS: Methods = {
    kind: {
        OURS: train_ours(kind),
        **({"textbook": train_textbook(kind)} if kind in FORMS else {}),
        **({PEER: train_peer(kind)} if kind in PEERS else {}),
        **({"diffusers": train_diffusers} if kind == "vq" else {}),
    }
    for kind in OWN
}

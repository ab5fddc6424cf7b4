"""Floating-point operations of a recipe's training step, counted without computing anything.

The networks of a recipe are built on PyTorch's meta device, where tensors have shapes and no
values, and a step runs through them under ``torch.utils.flop_counter``: encoder, decoder, features
of the perceptual loss, discriminator, and all backward passes. A multiplication and an addition
count as two operations. The search for codes is added by its formula, 2 K D per position, since its
kernels read values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from core.networks.discriminator import Discriminator
from core.networks.features import _TAPS, Features
from core.networks.transformer import Transformer, TransformerConfig
from core.quantizers import Quantized
from core.tokenizer import Tokenizer
from train.config.tokenizer import RunConfig
from train.loop.objective import Objective, discriminator_objective


@dataclass(frozen=True)
class StepCost:
    """Operations per picture, and the sizes that a model of a run needs."""

    train: float
    """Operations per picture of a training step."""
    encode: float
    """Operations per picture of encoding, the search for codes included."""
    tokens: int
    """Token ids per picture."""
    bytes_per_token: int
    """Bytes of an id in token shards."""
    parameters: int
    """Trained parameters, those of the discriminator included: their gradients are exchanged."""


def tokenizer_cost(run: RunConfig, discriminator: bool = True) -> StepCost:
    """Return what a picture costs a tokenizer's run, on average over its crops of ``data.size``.

    ``discriminator``: count it, as in the part of a run in which it learns.
    """
    side, config = run.data.size, run.tokenizer
    with torch.device("meta"):
        tokenizer = Tokenizer(config)
        judge = Discriminator(run.discriminator, config.channels)
        images = torch.empty(1, config.channels, side, side)
    features = meta_features(run.features.name)
    adversarial = judge if discriminator and run.loss.adversarial > 0 else None
    objective = Objective(run.loss, features, None, tokenizer.visible)

    def step() -> None:
        latents = tokenizer.encoder(images)
        ids = torch.zeros(1, *latents.shape[-2:], dtype=torch.long, device="meta")
        decoded = tokenizer.decoder(latents)
        codes = Quantized(latents, ids, {})
        last = tokenizer.decoder.last_weight
        found = objective(images, decoded, codes, last, adversarial, 1.0)
        (decoded.float() * found.gradient).sum().backward()
        if adversarial is not None:
            discriminator_objective(judge, images, decoded).backward()

    with torch.no_grad():
        encode = _counted(lambda: tokenizer.encoder(images))
        grid = tokenizer.encoder(images).shape[-2:]
    positions = grid[0] * grid[1]
    search = 2.0 * positions * tokenizer.codebook_size * config.network.latent_dim
    trained = [*tokenizer.parameters(), *(judge.parameters() if adversarial is not None else ())]
    return StepCost(
        _counted(step) + search,
        encode + search,
        positions * tokenizer.levels,
        2 if tokenizer.codebook_size <= 65_536 else 4,
        sum(p.numel() for p in trained if p.requires_grad),
    )


def transformer_cost(width: int, layers: int, heads: int, tokens: int, codes: int) -> StepCost:
    """Return what a picture of ``tokens`` costs an autoregressive prior; K is ``codes``."""
    config = TransformerConfig(width=width, layers=layers, heads=heads, causal=True)
    with torch.device("meta"):
        network, head = Transformer(config), torch.nn.Linear(width, codes)
        x = torch.empty(1, tokens, width, requires_grad=True)
        table = torch.empty(2, tokens, width // heads)
    count = sum(p.numel() for p in (*network.parameters(), *head.parameters()))
    step = _counted(lambda: head(network(x, table)).sum().backward())
    return StepCost(step, 0.0, tokens, 2 if codes <= 65_536 else 4, count + codes * width)


def meta_features(name: str) -> Features | None:
    """Return the features of a perceptual loss without their weights; AlexNet's for "auto"."""
    if name == "none":
        return None
    from torchvision import models

    name = "alexnet" if name == "auto" else name
    kinds = {"squeezenet": "squeezenet1_1"}
    assert name in _TAPS
    with torch.device("meta"):
        layers = getattr(models, kinds.get(name, name))(weights=None).features
        for layer in layers.modules():
            if isinstance(layer, torch.nn.ReLU):
                layer.inplace = False
        return Features(name, layers, name, torch.empty(3), torch.empty(1, 3, 1, 1), False)


class _NoModules:
    """Stands for the counter's record of modules, whose hooks do not bear ``autograd.grad``."""

    parents = frozenset({"Global"})
    is_bw = False

    def __enter__(self) -> _NoModules:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _counted(call: Callable[[], object]) -> float:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()
    with counter:
        call()
    return float(counter.get_total_flops())

"""Activation checkpointing: blocks that keep their inputs alone for the backward pass.

The backward pass computes the rest again (Chen et al. 2016, arXiv 1604.06174): a block's forward
pass runs twice, and of all that it computes only its inputs stay in memory in between. The gradient
is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class CheckpointedBlock(nn.Module):
    """A block whose ``forward`` calls ``recomputed``; ``set_checkpointing`` turns it on."""

    checkpointing = False

    def recomputed(self, function: Callable[..., Tensor], *inputs: object) -> Tensor:
        """Return ``function(*inputs)``, whose intermediate results are not kept if checkpointing is
        on and gradients are computed."""
        if self.checkpointing and torch.is_grad_enabled():
            found = checkpoint(function, *inputs, use_reentrant=False)
            assert isinstance(found, Tensor)
            return found
        return function(*inputs)


def set_checkpointing(network: nn.Module, on: bool = True) -> None:
    """Turn checkpointing of all blocks of a network on or off, those of diffusers' U-Net too."""
    each: Any
    for each in network.modules():
        if isinstance(each, CheckpointedBlock):
            each.checkpointing = on
        elif on and hasattr(each, "enable_gradient_checkpointing"):
            each.enable_gradient_checkpointing()
        elif hasattr(each, "disable_gradient_checkpointing"):
            each.disable_gradient_checkpointing()

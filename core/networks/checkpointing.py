"""Activation checkpointing: blocks that keep their inputs alone for the backward pass.

The backward pass computes the rest again (Chen et al. 2016, arXiv 1604.06174): a block's forward
pass runs twice, and of all that it computes only its inputs stay in memory in between. The gradient
is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class CheckpointedBlock(nn.Module):
    """A block whose intermediate results are not kept if checkpointing is on and gradients are
    computed; ``set_checkpointing`` turns it on."""

    checkpointing = False

    def __call__(self, *inputs: object) -> Any:
        """Return ``forward(*inputs)``."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(super().__call__, *inputs, use_reentrant=False)
        return super().__call__(*inputs)


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

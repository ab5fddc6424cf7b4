"""LPIPS (Zhang et al. 2018), version 0.1, through torchmetrics.

It is a distance of two pictures, fitted to human judgments. The fitted heads come with
torchmetrics; the backbone (AlexNet, VGG-16 or SqueezeNet 1.1) has torchvision's weights, which are
downloaded or given as a file. The net is part of the name: papers on tokenizers mostly report VGG,
LPIPS itself recommends AlexNet, and the two differ. Pictures are compared at their own size, as
8-bit values, in [-1, 1]. The heads belong to torchvision's weights: with others the distance is not
called LPIPS.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FeatureError
from ..networks.pretrained import find_weights, read_weights, verified

if TYPE_CHECKING:
    from torch import nn

LpipsNet = Literal["alex", "vgg", "squeeze"]
_NAMES = {"alex": "AlexNet", "vgg": "VGG-16", "squeeze": "SqueezeNet 1.1"}
_SMALLEST = 32  # side in pixels below which the coarse layers have no positions left


class Lpips:
    """A distance of pictures; ``key`` is its key, ``label`` a description."""

    def __init__(self, model: nn.Module, net: LpipsNet, published: bool, origin: str) -> None:
        self._model, self.net, self.published = model, net, published
        self.label = f"LPIPS 0.1 heads on {_NAMES[net]} ({origin})"

    @property
    def key(self) -> str:
        """``lpips_NET`` on torchvision's weights, ``NET_weighted_distance`` on any other."""
        return f"lpips_{self.net}" if self.published else f"{self.net}_weighted_distance"

    def to(self, device: torch.device | str) -> Lpips:
        """Move the network to another device and return this object."""
        self._model.to(device)
        return self

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return distances (B,) of images (B, 3, H, W) in [-1, 1]; 0 = the same.

        A picture with a side below 32 pixels is padded with its edge pixels. Raises ValueError if
        the shapes differ.
        """
        if a.shape != b.shape:
            raise ValueError(
                f"images of one shape are needed, got {tuple(a.shape)}, {tuple(b.shape)}"
            )
        height, width = a.shape[-2:]
        padding = (0, max(_SMALLEST - width, 0), 0, max(_SMALLEST - height, 0))
        if any(padding):
            a, b = F.pad(a, padding, mode="replicate"), F.pad(b, padding, mode="replicate")
        return self._model(a, b).flatten()


def load_lpips(net: LpipsNet, weights: str | Path | None = None) -> Lpips:
    """Load LPIPS with the backbone's weights in a file (.pth of tensors or .safetensors).

    The file has torchvision's key names; None looks for torchvision's file in torch's cache, then
    downloads it there. Raises FeatureError for an unknown net, if the weights are not available, or
    if the file does not hold them.
    """
    if net not in _NAMES:
        raise FeatureError(f"unknown LPIPS net {net!r}; available: {', '.join(_NAMES)}.")
    try:
        # The metric's public class would download the backbone; this one gets it from us.
        from torchmetrics.functional.image.lpips import _NoTrainLpips
    except ImportError:
        raise FeatureError("LPIPS needs torchmetrics: pip install torchmetrics.") from None
    from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

    source = {"alex": AlexNet_Weights, "vgg": VGG16_Weights, "squeeze": SqueezeNet1_1_Weights}[
        net
    ].DEFAULT.url
    name = source.rpartition("/")[2]
    what = f"torchvision's {_NAMES[net]} weights"
    file = find_weights(what, name, source, weights, "--lpips-weights")
    state = read_weights(file)
    model = _NoTrainLpips(net=net, pnet_rand=True)
    backbone = model.net.state_dict()
    # slice2.3.weight or slices.2.6.squeeze.weight is torchvision's features.3.weight, features.6...
    levels = 2 if net == "squeeze" else 1
    names = {key: "features." + ".".join(key.split(".")[levels:]) for key in backbone}
    if missing := set(names.values()) - set(state):
        raise FeatureError(f"{file} lacks {min(missing)}: it does not hold {what}.")
    try:
        model.net.load_state_dict({key: state[name].float() for key, name in names.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise FeatureError(f"{file} does not hold {what}: {reason}") from None
    published = verified(file, name.rpartition("-")[2].removesuffix(".pth"))
    origin = what if published else f"weights file {file.name}, not torchvision's"
    return Lpips(model.requires_grad_(False), net, published, origin)

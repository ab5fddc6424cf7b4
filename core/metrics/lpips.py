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
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FeatureError
from ..networks.pretrained import (
    check_fits,
    find_weights,
    half_digest,
    read_weights,
    verified,
)

if TYPE_CHECKING:
    from torch import nn

LpipsNet = Literal["alex", "vgg", "squeeze"]
_NAMES = {"alex": "AlexNet", "vgg": "VGG-16", "squeeze": "SqueezeNet 1.1"}
NET_OF_FEATURES: dict[str, LpipsNet] = {
    "alexnet": "alex",
    "vgg16": "vgg",
    "squeezenet": "squeeze",
}
"""LPIPS's nets by the names of their features."""
_HALF_DIGESTS = {
    "alex": "28ed56130fbe96f3",
    "vgg": "68216d6d59a14408",
}
"""The first digits of ``half_digest`` of torchvision's weights. With them LPIPS of the example pair
of its authors' repository is 0.722 and 0.138 (AlexNet), as is stated there."""
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


def _torchmetrics_lpips() -> Any:
    """Return torchmetrics' module of LPIPS. Raises FeatureError if it is not installed."""
    try:
        from torchmetrics.functional.image import lpips
    except ImportError:
        raise FeatureError("LPIPS needs torchmetrics: pip install torchmetrics.") from None
    return lpips


def fitted_heads(net: LpipsNet) -> list[Tensor]:
    """Return the heads of LPIPS 0.1: a weight for each channel (C_l,) of each layer l of ``net``.

    They come with torchmetrics. Raises FeatureError if it is not installed.
    """
    file = Path(_torchmetrics_lpips().__file__).parent / "lpips_models" / f"{net}.pth"
    state = torch.load(file, map_location="cpu", weights_only=True)
    return [state[f"lin{layer}.model.1.weight"].flatten() for layer in range(len(state))]


def load_lpips(net: LpipsNet, weights: str | Path | None = None) -> Lpips:
    """Load LPIPS with the backbone's weights in a file (.pth of tensors or .safetensors).

    The file has torchvision's key names; None looks for torchvision's file in torch's cache, then
    downloads it there. Raises FeatureError for an unknown net, if the weights are not available, or
    if the file does not hold them.
    """
    if net not in _NAMES:
        raise FeatureError(f"unknown LPIPS net {net!r}; available: {', '.join(_NAMES)}.")
    # The metric's public class would download the backbone; this one gets it from us.
    network = _torchmetrics_lpips()._NoTrainLpips
    from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

    source = {"alex": AlexNet_Weights, "vgg": VGG16_Weights, "squeeze": SqueezeNet1_1_Weights}[
        net
    ].DEFAULT.url
    name = source.rpartition("/")[2]
    what = f"torchvision's {_NAMES[net]} weights"
    file = find_weights(what, name, source, weights, "--lpips-weights")
    state = read_weights(file)
    model = network(net=net, pnet_rand=True)
    backbone = model.net.state_dict()
    # slice2.3.weight or slices.2.6.squeeze.weight is torchvision's features.3.weight, features.6...
    levels = 2 if net == "squeeze" else 1
    names = {key: "features." + ".".join(key.split(".")[levels:]) for key in backbone}
    check_fits(state, {name: backbone[key] for key, name in names.items()}, str(file), what)
    model.net.load_state_dict({key: state[name].float() for key, name in names.items()})
    published = verified(file, name.rpartition("-")[2].removesuffix(".pth"))
    if not published and net in _HALF_DIGESTS:
        published = half_digest(state, "features.").startswith(_HALF_DIGESTS[net])
    origin = what if published else f"weights file {file.name}, not torchvision's"
    return Lpips(model.requires_grad_(False), net, published, origin)

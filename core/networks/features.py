"""Pretrained features for perceptual and contrastive losses and for distances between pictures.

The architectures are torchvision's; the weights come from a file that the user names, or from
torchvision's own download. ``Features.label`` states network and weights, and model cards repeat
it: a distance on SqueezeNet features is not LPIPS, and a Fréchet distance on them is not FID.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import FeatureError
from .pretrained import check_fits, read_weights

FeatureName = Literal["squeezenet", "alexnet", "vgg16", "vgg19", "none"]

# The layers after which features are read. VGG-19: relu1_2, 2_2, 3_3, 4_3, 5_3, as in Reg-VQ;
# SqueezeNet: after the first convolution and after the later fire modules; AlexNet and VGG-16:
# LPIPS's, after each of the five convolutions, and relu1_2, 2_2, 3_3, 4_3, 5_3.
_TAPS = {
    "squeezenet": (1, 4, 7, 9, 10, 11, 12),
    "alexnet": (1, 4, 7, 9, 11),
    "vgg16": (3, 8, 15, 22, 29),
    "vgg19": (3, 8, 15, 24, 33),
}
_LABELS = {
    "squeezenet": "SqueezeNet 1.1",
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "vgg19": "VGG-19",
}
_MIN_SIDE = 32  # pixels; smaller images would have no position left in the coarse layers


class Features(nn.Module):
    """A frozen network that returns the maps after some of its layers.

    ``forward`` takes images (B, 3, H, W) in [-1, 1] and returns a list of maps (B, C_l, H_l, W_l),
    finest first. Gradients flow to the images, not to the weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, name: str, layers: nn.Sequential, label: str, mean: Tensor, scale: Tensor, bgr: bool
    ) -> None:
        super().__init__()
        self.name, self.label, self.taps, self.bgr = name, label, _TAPS[name], bgr
        self.layers = layers[: max(self.taps) + 1].requires_grad_(False).eval()
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("scale", scale.view(1, 3, 1, 1))

    def train(self, mode: bool = True) -> Features:
        """Set eval mode, whatever ``mode`` is: the features are a fixed measure."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        if min(height, width) < _MIN_SIDE:
            padding = (0, max(_MIN_SIDE - width, 0), 0, max(_MIN_SIDE - height, 0))
            images = F.pad(images, padding, mode="replicate")
        x = ((images.flip(1) if self.bgr else images) - self.mean) * self.scale
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        return maps

    def pooled(self, images: Tensor) -> Tensor:
        """Return the deepest map averaged over positions, float32 (B, C)."""
        return self(images)[-1].float().mean((2, 3))


def load_features(name: FeatureName, weights: str | Path | None = None) -> Features | None:
    """Load the features called ``name``; return None for ``none``.

    ``weights`` is a file (.npz, .safetensors, or a .pth of tensors) with torchvision's key names.
    By default torchvision loads the weights from its cache, or downloads them. The weights of an
    .npz file must expect BGR pixels from 0 to 255 minus ImageNet's mean (Keras's convention), those
    of other files torchvision's normalization. Raises FeatureError if the weights cannot be loaded.
    """
    if name == "none":
        return None
    if name not in _TAPS:
        available = ", ".join(_TAPS)
        raise FeatureError(f"unknown features {name!r}; available: {available}, none.")
    from torchvision.models import alexnet, squeezenet1_1, vgg16, vgg19

    network = {"squeezenet": squeezenet1_1, "alexnet": alexnet, "vgg16": vgg16, "vgg19": vgg19}
    with torch.device("meta"):  # their classifiers have up to 100 million weights
        layers = network[name](weights=None).features
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    mean, scale, bgr = 2 * mean - 1, 1 / (2 * deviation), False
    if weights is None:
        state, origin = _torchvision_weights(name), "torchvision weights"
    else:
        file = Path(weights)
        state, origin = read_weights(file), f"weights file {file.name}"
        if file.suffix == ".npz":
            mean = torch.tensor([103.939, 116.779, 123.68]) / 127.5 - 1
            scale, bgr = torch.full((3,), 127.5), True
            for layer in layers:
                if isinstance(layer, nn.MaxPool2d):
                    layer.ceil_mode = False  # Keras drops the incomplete last window
    state = {key.removeprefix("features."): value.float() for key, value in state.items()}
    expected = layers.state_dict()
    check_fits(state, expected, origin, _LABELS[name])
    layers.load_state_dict({key: state[key] for key in expected}, assign=True)
    for layer in layers.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # an in-place ReLU would overwrite a map that is returned
    return Features(name, layers, f"{_LABELS[name]} ({origin})", mean, scale, bgr)


def _torchvision_weights(name: str) -> dict[str, Tensor]:
    from torchvision import models

    source = {
        "squeezenet": models.SqueezeNet1_1_Weights,
        "alexnet": models.AlexNet_Weights,
        "vgg16": models.VGG16_Weights,
        "vgg19": models.VGG19_Weights,
    }[name].DEFAULT
    try:
        return source.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise FeatureError(
            f"torchvision's {_LABELS[name]} weights are not in its cache and cannot be downloaded "
            f"({error}); name a weights file or choose the features 'none'."
        ) from None

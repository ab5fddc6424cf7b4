"""Files of pretrained networks with random weights, written by tests."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models import alexnet, squeezenet1_1


class RandomInception(FeatureExtractorInceptionV3):
    """torch-fidelity's network with its initial random weights."""

    def __init__(self) -> None:
        nothing = io.BytesIO()
        torch.save({}, nothing)
        nothing.seek(0)
        super().__init__("random", ["2048"], feature_extractor_weights_path=nothing)

    def load_state_dict(self, state: dict, **settings: object) -> None:
        """Keep the initial weights."""


def inception(file: Path) -> RandomInception:
    """Write random Inception weights to a .pth file and return the network that has them."""
    torch.manual_seed(0)
    net = RandomInception().eval()  # torch-fidelity 0.3 leaves it in training mode
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):  # torch's initial weights would end in 1e-9 of the picture
            nn.init.kaiming_normal_(layer.weight)
    torch.save(net.state_dict(), file)
    return net


def alex(file: Path) -> None:
    """Write random weights of AlexNet's convolutions to a .safetensors file."""
    torch.manual_seed(1)
    layers = alexnet(weights=None).features
    save_file({f"features.{key}": value for key, value in layers.state_dict().items()}, file)


def squeezenet(file: Path) -> None:
    """Write random weights of SqueezeNet to a .safetensors file."""
    torch.manual_seed(0)
    save_file(squeezenet1_1(weights=None).state_dict(), file)

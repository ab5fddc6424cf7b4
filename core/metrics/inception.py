"""Inception features for the Fréchet Inception distance (FID, and rFID of reconstructions).

The network is torch-fidelity's InceptionV3, ported from the TensorFlow graph of the FID paper
(Heusel et al. 2017), through torchmetrics. The protocol is that of published figures:

- pictures as 8-bit RGB, resized to 299 x 299 as TensorFlow 1 did (bilinear, no antialiasing), not
  by torchmetrics' default, which antialiases and gives other numbers;
- the 2048 features after the last average pooling; means and covariances in float64 sums
  (`FrechetStatistics`), never the features themselves;
- rFID: pictures against their own reconstructions; FID: against generated ones. The caller must
  state the pictures, their split, size and number: for few pictures the distance has a large upward
  bias, and papers take 50,000 (or the 5,000 of MS-COCO's validation set).

Only with the published weights is the distance called FID. On any other weights it is a Fréchet
distance with another name.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import FeatureError
from ..networks.pretrained import find_weights, read_weights, verified

if TYPE_CHECKING:
    from torch import nn

FILE = "weights-inception-2015-12-05-6726825d.pth"
"""The file of the published weights, of torch-fidelity's release v0.2.0."""
_PREFIX = FILE.rpartition("-")[2].removesuffix(".pth")


class Inception:
    """A map from images to Inception features, with their names.

    ``key`` is the key of a Fréchet distance on them, ``label`` a description.
    """

    def __init__(self, net: nn.Module, published: bool, origin: str) -> None:
        self._net = net
        self.published = published
        self.label = f"Inception v3 of torch-fidelity, 2048 features ({origin})"

    @property
    def key(self) -> str:
        """``fid`` on the published weights, ``inception_fd`` on any other."""
        return "fid" if self.published else "inception_fd"

    def to(self, device: torch.device | str) -> Inception:
        """Move the network to another device and return this object."""
        self._net.to(device)
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return features float32 (B, 2048) of images (B, 3, H, W) in [-1, 1], of any size."""
        return self._net(images.add(1).mul(127.5).round().clamp(0, 255).byte())


def load_inception(weights: str | Path | None = None) -> Inception:
    """Load the network with the weights in a file (.pth of tensors or .safetensors).

    None looks for the published file in torch's cache, then downloads it there. Raises
    FeatureError if the weights are not available, or if the file does not hold them.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError:
        raise FeatureError(
            "FID needs torchmetrics and torch-fidelity: pip install torchmetrics torch-fidelity."
        ) from None

    what = "torch-fidelity's Inception weights"
    file = find_weights(what, FILE, URL_INCEPTION_V3, weights, "--fid-weights")
    # torch-fidelity would unpickle the file, so it gets one that holds only tensors.
    tensors = io.BytesIO()
    torch.save(read_weights(file), tensors)
    tensors.seek(0)
    try:
        net = NoTrainInceptionV3(
            "inception-v3-compat",
            ["2048"],
            # torch.load, which reads it, takes an open file as well as a path
            feature_extractor_weights_path=tensors,  # pyright: ignore[reportArgumentType]
            antialias=False,
        )
    except (RuntimeError, TypeError, AttributeError) as error:
        # torch lists every name that is missing: more than a thousand
        reason = " ".join(
            str(error).rpartition("for NoTrainInceptionV3:")[2].split(", ")[0].split()
        )
        raise FeatureError(f"{file} does not hold {what}: {reason[:200]}") from None
    published = verified(file, _PREFIX)
    origin = "published weights" if published else f"weights file {file.name}, not the published"
    return Inception(net.requires_grad_(False), published, origin)

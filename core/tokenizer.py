"""The tokenizer: images to token ids and back.

```python
tokenizer = Tokenizer.from_pretrained("checkpoints/photos-regvq")
ids = tokenizer.encode(images)  # (B, C, H, W) in [-1, 1] -> int64 (B, h, w), or (B, L, h, w)
images = tokenizer.decode(ids)  # (B, C, h*f, w*f) in [-1, 1]
```

C is ``TokenizerConfig.channels``, 3 unless it is set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .bundles.bundle import FORMAT, Bundle, bundle_of_kind, load_bundle, open_bundle
from .bundles.storage import load_weights, state_for_disk, write_folder
from .channels import Projection, check_channels, project, projection
from .config import changed_settings, entry_of, from_dict, to_dict
from .errors import CheckpointError
from .networks.autoencoder import NetworkConfig, pad_to_multiple
from .networks.vqgan import VQGANConfig
from .quantizers import (
    QUANTIZERS,
    LeveledQuantizer,
    LevelsConfig,
    Quantized,
    Quantizer,
    QuantizerConfig,
    RegVQConfig,
    quantizer_class,
)
from .quantizers.base import to_rows
from .quantizers.levels import check_levels


@dataclass(frozen=True)
class TokenizerConfig:
    """The architecture of a tokenizer."""

    network: NetworkConfig | VQGANConfig = field(default_factory=NetworkConfig)
    quantizer: QuantizerConfig = field(default_factory=RegVQConfig)
    value_range: Literal["signed", "unit"] = "signed"
    """The values of pixels inside: [-1, 1] (signed) or [0, 1] (unit), as some published tokenizers
    have them. Outside, images are in [-1, 1] for every tokenizer."""
    channels: int = 3
    """C, the channels of the pictures, from 1 to 16: 1 for gray or depth, 3 for color, more for
    multispectral pictures."""
    perceptual_channels: tuple[int, ...] | None = None
    """Numbers, from 1, of the channels that perceptual losses and distances see as red, green and
    blue, and that are shown first: three, such as 3 2 1, or one that is repeated. None: the first
    three; of two channels, the second is repeated, and of one, it is."""

    levels: LevelsConfig = field(default_factory=LevelsConfig)
    """Several ids per position: residual and product codes over the quantizer."""

    def __post_init__(self) -> None:
        check_channels(self.channels, "tokenizer.channels")
        projection(self.channels, self.perceptual_channels, "tokenizer.perceptual_channels")
        dim, groups = self.network.latent_dim, self.levels.groups
        if dim % groups:
            raise ValueError(
                f"tokenizer.levels.groups must divide the {dim} channels of the latents, "
                f"got {groups}"
            )
        if self.value_range not in ("signed", "unit"):
            raise ValueError(
                f"tokenizer.value_range must be 'signed' or 'unit', got {self.value_range!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON: nested dictionaries, the quantizer tagged with its name.

        The network is tagged with its kind unless it is that of ``NetworkConfig``; the value range
        is left out where it is "signed", channels where they are 3, perceptual channels where none
        are named, and the levels where there is one: bundles older than the other choices stay as
        they are. Raises CheckpointError for a quantizer that is not registered.
        """
        if type(self.quantizer) not in QUANTIZERS.values():
            raise CheckpointError(
                f"{type(self.quantizer).__name__} is not a registered quantizer; give it a name "
                "with regvq.quantizers.register_quantizer."
            )
        network = to_dict(self.network)
        if isinstance(self.network, VQGANConfig):
            network = {"kind": "vqgan", **network}
        described: dict[str, Any] = {
            "network": network,
            "quantizer": to_dict(self.quantizer, QUANTIZERS),
        }
        if self.value_range == "unit":
            described["value_range"] = "unit"
        if self.channels != 3:
            described["channels"] = self.channels
        if self.perceptual_channels is not None:
            described["perceptual_channels"] = list(self.perceptual_channels)
        if self.levels.count > 1:
            described["levels"] = to_dict(self.levels)
        return described

    @classmethod
    def from_dict(cls, described: Any, file: Path | str = "config.json") -> TokenizerConfig:
        """Return the config that ``to_dict`` described. Raises CheckpointError naming ``file``."""
        try:
            settings = dict(described["network"])
            network = from_dict(settings, entry_of(_NETWORKS, settings.pop("kind", "ours")))
            name = described["quantizer"]["name"]
            quantizer = from_dict(described["quantizer"], {name: quantizer_class(name)})
            seen = described.get("perceptual_channels")
            return cls(
                network,
                quantizer,
                described.get("value_range", "signed"),
                described.get("channels", 3),
                None if seen is None else tuple(seen),
                from_dict(described.get("levels", {}), LevelsConfig),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file} does not describe a tokenizer: {error}.") from None


_NETWORKS: dict[str, type[NetworkConfig | VQGANConfig]] = {
    "ours": NetworkConfig,  # older than the entry, which its bundles do not have
    "vqgan": VQGANConfig,
}
"""The networks by the kind that config.json states."""


class Tokenizer(nn.Module):
    """Encoder, quantizer and decoder.

    ``encode``, ``decode``, ``latents``, ``reconstruct``, ``quantize`` and ``log_posterior`` compute
    no gradients and expect eval mode, in which ``from_pretrained`` returns the tokenizer. They
    accept images of any size: sides that are not multiples of f are padded by repeating the edge,
    and ``reconstruct`` crops the result to the original size. ``forward`` is the training pass and
    accepts only multiples of f.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = config.network.build_encoder(config.channels)
        self.quantizer: Quantizer | LeveledQuantizer = config.levels.build(
            config.quantizer, config.network.latent_dim
        )
        self.decoder = config.network.build_decoder(config.channels)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Tokenizer:
        """Move or convert the tokenizer, but keep its quantizer in float32: ``tokenizer.half()``
        rounds the networks only, as rounded codes would give some positions to other codes."""

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if tensor.is_floating_point() and result.dtype != tensor.dtype:
                return tensor.to(result.device)
            return result

        if recurse:
            self.encoder._apply(fn)
            self.decoder._apply(fn)
            self.quantizer._apply(moved)
        return super()._apply(fn, recurse=False)

    @classmethod
    def from_pretrained(cls, source: str | Path | Bundle, device: str = "cpu") -> Tokenizer:
        """Load the tokenizer of a bundle or run folder: float32, in eval mode, without gradients.

        ``source`` is a folder, or a repository of the Hugging Face Hub: ``user/name``,
        ``user/name@revision`` (``core.bundles.bundle.open_bundle``).

        Raises CheckpointError for a folder without a tokenizer, of another format, or with weights
        that are damaged or do not fit.
        """

        def load(bundle: Bundle, sha256: str | None) -> Tokenizer:
            bundle = bundle_of_kind(bundle, "tokenizer")
            described = bundle.config.get("tokenizer")
            tokenizer = cls(TokenizerConfig.from_dict(described, bundle.path / "config.json"))
            return load_weights(tokenizer, bundle.path / "model.safetensors", sha256)

        return load_bundle(open_bundle(source), load).to(device)

    def save_pretrained(
        self,
        path: str | Path,
        *,
        card: str = "",
        metrics: Mapping[str, Any] | None = None,
        atlas: Mapping[str, np.ndarray] | None = None,
        recipe: Mapping[str, Any] | None = None,
        half: bool = True,
    ) -> Bundle:
        """Write the tokenizer's bundle to ``path``, replacing one that exists.

        ``half`` stores floating-point weights in float16, except the quantizer's. Rounding the
        codes would assign some positions to other codes; rounding the convolutions has no
        measurable effect.
        """
        config = {
            "format": FORMAT,
            "kind": "tokenizer",
            "tokenizer": self.config.to_dict(),
            "recipe": dict(recipe or {}),
        }
        state = state_for_disk(self, half, keep="quantizer.")
        write_folder(Path(path), config, state, card, metrics, atlas)
        return Bundle(Path(path).name, Path(path))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of architecture and weights, which identifies the tokenizer.

        Settings at their defaults are left out, so that a setting that a later version adds does
        not change the fingerprints of existing tokenizers.
        """
        network, quantizer = self.config.network, self.config.quantizer
        kind = type(quantizer).__name__
        described: list[Any] = [kind, changed_settings(network), changed_settings(quantizer)]
        if isinstance(network, VQGANConfig):
            described.append("vqgan")
        if self.config.value_range != "signed":
            described.append(self.config.value_range)
        if self.config.channels != 3:
            described.append(self.config.channels)
        if self.levels > 1:
            described.append(changed_settings(self.config.levels))
        digest = hashlib.sha256()
        digest.update(json.dumps(described, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            array = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
            digest.update(array.numpy().tobytes())
        return f"sha256:{digest.hexdigest()}"

    @property
    def downsampling(self) -> int:
        """f, the pixels per token along each side."""
        return self.config.network.downsampling

    @property
    def codebook_size(self) -> int:
        """K, the number of codes; with several levels, of each."""
        return self.quantizer.size

    @property
    def channels(self) -> int:
        """C, the channels of the pictures."""
        return self.config.channels

    @property
    def projection(self) -> Projection:
        """The places, from 0, of the channels that are seen as red, green and blue."""
        return projection(self.config.channels, self.config.perceptual_channels)

    def visible(self, images: Tensor) -> Tensor:
        """Return the three channels of images (..., C, H, W) that perceptual losses and distances
        see, and that pictures show: (..., 3, H, W)."""
        return project(images, self.projection)

    @property
    def levels(self) -> int:
        """L, the number of ids per position: 1, or that of residual and product codes."""
        return self.config.levels.count

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.decoder.last_weight.device

    def forward(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Quantized]:
        """Return reconstruction, latents (B, D, h, w) and quantizer output of images (B, C, H, W).

        This is the training pass; the reconstruction has the shape of the images.
        """
        latents = self.encoder(self.network_input(images))
        quantized = self.quantizer(latents, generator=generator)
        return self.network_output(self.decoder(quantized.z)), latents, quantized

    def network_input(self, images: Tensor) -> Tensor:
        """Return images in [-1, 1] as the encoder takes them: in the network's value range."""
        return images if self.config.value_range == "signed" else (images + 1) / 2

    def network_output(self, painted: Tensor) -> Tensor:
        """Return images as the decoder paints them in [-1, 1], not clamped."""
        return painted if self.config.value_range == "signed" else painted * 2 - 1

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Return the latents of images (B, C, H, W) in [-1, 1] before quantization.

        They are float32 (B, D, ceil(H/f), ceil(W/f)).
        """
        check_images(images, self.channels)
        images = pad_to_multiple(images, self.downsampling)
        return self.encoder(self.network_input(images.to(self.device, non_blocking=True))).float()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the token ids int64 (B, ceil(H/f), ceil(W/f)) of images (B, C, H, W) in [-1, 1];
        with several levels (B, L, ceil(H/f), ceil(W/f)).

        Each id is that of the best code (argmax); nothing is drawn at random.
        """
        return self.quantizer.assign(self.latents(images))

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Return the images float32 (B, C, h*f, w*f) in [-1, 1] of token ids int64 (B, h, w).

        With several levels, ids are (B, n, h, w): those of the first n levels. ``ids`` may also be
        floating-point latents (B, D, h, w), as a latent prior draws them; they are quantized first.
        Raises ValueError for an id outside [0, K) or a wrong number of axes or levels; the host
        waits for ids on a GPU to look at their range.
        """
        if ids.is_floating_point():
            ids = self.quantizer.assign(ids)
        check_ids(ids, self.codebook_size, self.levels)
        return self.decode_latents(self.quantizer.embed(ids.to(self.device, non_blocking=True)))

    @torch.no_grad()
    def reconstruct(
        self,
        images: Tensor,
        mask_ratio: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encode and decode images (B, C, H, W) in [-1, 1]; return images of the same size.

        ``mask_ratio`` in [0, 1] is the share of tokens that are drawn from the posterior instead of
        chosen by argmax; deterministic quantizers ignore it. ``generator`` makes the draw
        repeatable.
        """
        height, width = images.shape[-2:]
        quantized = self.quantize(images, mask_ratio, generator)
        return self.decode_latents(quantized.z)[..., :height, :width]

    @torch.no_grad()
    def quantize(
        self,
        images: Tensor,
        mask_ratio: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Return the quantizer's output for images (B, C, H, W); arguments as ``reconstruct``."""
        if not 0 <= mask_ratio <= 1:
            raise ValueError(f"mask_ratio must be from 0 to 1, got {mask_ratio}")
        return self.quantizer(self.latents(images), mask_ratio=mask_ratio, generator=generator)

    @torch.no_grad()
    def log_posterior(self, images: Tensor) -> Tensor:
        """Return log p(code | position), float32 (B, h, w, K), for images (B, C, H, W).

        Raises ValueError with several levels, whose combinations have no posterior.
        """
        z = self.latents(images)
        batch, _, height, width = z.shape
        return self.quantizer.log_posterior(to_rows(z)).view(batch, height, width, -1)

    @torch.no_grad()
    def decode_latents(self, z: Tensor) -> Tensor:
        """Return the images float32 (B, C, h*f, w*f) in [-1, 1] of codes (B, D, h, w), such as
        those of some levels; they are not quantized."""
        return self.network_output(self.decoder(self._typed(z)).float()).clamp_(-1, 1)

    def _typed(self, z: Tensor) -> Tensor:
        """Return latents in the decoder's type: codes are float32 in a tokenizer of any type."""
        return z.to(self.decoder.last_weight.dtype)


def check_images(images: Tensor, channels: int) -> None:
    """Raise ValueError unless ``images`` are (B, ``channels``, H, W)."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(f"images must be (B, {channels}, H, W), got {tuple(images.shape)}")


def check_ids(ids: Tensor, codebook_size: int, levels: int = 1) -> None:
    """Raise ValueError unless ``ids`` are token ids (B, h, w) from 0 to ``codebook_size`` - 1; with
    several levels (B, n, h, w), n from 1 to ``levels``."""
    if levels == 1 and ids.ndim != 3:
        raise ValueError(f"token ids must be (B, h, w), got {tuple(ids.shape)}")
    if levels > 1:
        check_levels(ids, levels)
    if not ids.numel():
        return
    low, high = torch.stack(ids.aminmax()).tolist()  # on a GPU, the host waits for it
    if not 0 <= low <= high < codebook_size:
        raise ValueError(f"token ids must be from 0 to {codebook_size - 1}, got {low} to {high}")

"""Settings of a tokenizer's run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from regvq.networks.discriminator import DiscriminatorConfig
from regvq.quantizers import RegVQConfig
from regvq.tokenizer import TokenizerConfig

from .base import AdamWConfig, CommonConfig, PicturesConfig, check_range
from .stages import StagesConfig


@dataclass(frozen=True)
class DataConfig(PicturesConfig):
    """The pictures that a tokenizer trains on; the crops of the last part can be larger."""

    last_size: int | None = None
    """Side of the crops in the last part of the run, with proportionally fewer of them: GroupNorm
    then sees statistics closer to those of whole pictures, at the same cost per step. None: there
    is no such part."""
    last_share: float = 0.2
    """Share of the run that the last part takes."""


@dataclass(frozen=True)
class FeatureConfig:
    """The pretrained features of the perceptual and the contrastive loss."""

    name: Literal["auto", "squeezenet", "alexnet", "vgg16", "vgg19", "none"] = "auto"
    """auto: AlexNet for LPIPS, else SqueezeNet, both about 30 times cheaper than the paper's
    VGG-19; if the weights are not available, the run says so and trains without them. none: pixel
    losses only."""
    weights: Path | None = None
    """Weights file (.npz, .safetensors, .pth); None: torchvision's own weights."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms. Reg-VQ names the terms; none of its weights is published."""

    l1: float = 1.0
    """Mean absolute error on [-1, 1]."""
    l2: float = 0.0
    """Mean squared error on [-1, 1]."""
    perceptual: float = 1.0
    """Distance of pretrained features."""
    lpips: bool = False
    """Weight the channels of that distance by LPIPS's fitted heads, version 0.1, on the features
    alexnet, vgg16 or squeezenet; without it all channels have the same weight."""
    second_perceptual: float = 0.0
    """Distance of the run's second features."""
    second_share: float = 1.0
    """Share of a batch's pictures on which the second distance is computed: features that cost
    several times as much as the rest of a step need not see every picture."""
    perceptual_every: int = 1
    """Steps per computation of the perceptual distances, whose weight is multiplied by this number
    then, so that their mean gradient stays the same. Above 1, their features cost that much less
    time; VQ-GAN's adaptive weight then follows the gradient of the step."""
    contrastive: Literal["pcl", "cl", "none"] = "none"
    """Probabilistic contrastive loss (Reg-VQ Eq. 3), the plain one (Eq. 2), or none."""
    contrastive_weight: float = 0.1
    """Weight of the contrastive loss."""
    adversarial: float = 0.0
    """Largest weight of the adversarial term, multiplied by the adaptive weight; 0: no
    discriminator is trained. VQ-GAN: 0.8."""
    adaptive: bool = True
    """Multiply the adversarial term by VQ-GAN's adaptive weight (Eq. 7); SimVQ and NSVQ do not."""
    discriminator_start: float = 0.5
    """Share of the steps after which the discriminator starts to learn."""
    listen_after: float = 0.05
    """Share of the steps in which the discriminator learns before its loss reaches the decoder."""
    ramp: float = 0.1
    """Share of the steps in which the adversarial weight rises from 0 to its largest value."""

    def __post_init__(self) -> None:
        terms = (
            "l1", "l2", "perceptual", "second_perceptual", "contrastive_weight", "adversarial",
        )  # fmt: skip
        for name in terms:
            check_range(f"loss.{name}", (getattr(self, name),), math.inf)
        if not 0 < self.second_share <= 1:
            raise ValueError(
                f"loss.second_share must be above 0 and at most 1, got {self.second_share}"
            )
        if self.perceptual_every < 1:
            raise ValueError(
                f"loss.perceptual_every must be at least 1, got {self.perceptual_every}"
            )
        for name in ("discriminator_start", "listen_after", "ramp"):
            check_range(f"loss.{name}", (getattr(self, name),), 1)
        if self.l1 == self.l2 == 0:
            raise ValueError(
                "loss.l1 and loss.l2 are both 0: no loss compares the pixels; set one above 0"
            )


@dataclass(frozen=True)
class OptimizerConfig(AdamWConfig):
    """The optimizers of a tokenizer and of its discriminator."""

    discriminator_lr: float = 2e-4
    """Largest learning rate of the discriminator."""
    discriminator_betas: tuple[float, float] = (0.5, 0.9)
    """VQ-GAN's: a discriminator follows a moving target, so its moments must be short-lived."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.discriminator_lr > 0 and math.isfinite(self.discriminator_lr)):
            raise ValueError(
                f"optimizer.discriminator_lr must be a number above 0, got {self.discriminator_lr}"
            )
        check_range("optimizer.discriminator_betas", self.discriminator_betas, 1, below=True)


@dataclass(frozen=True)
class RunConfig(CommonConfig):
    """A tokenizer's run: all settings that determine its result, and its reports."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    second_features: FeatureConfig = field(default_factory=lambda: FeatureConfig(name="none"))
    """Second features, for the perceptual loss only (loss.second_perceptual)."""
    loss: LossConfig = field(default_factory=LossConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    stages: StagesConfig | None = None
    """NSVQ's stages, which freeze the encoder in the course of the run; None: one stage."""
    codes_rate: float = 1.0
    """Learning rate of the quantizer's matrices (the codes, or the layers that make them), as a
    multiple of the network's. The whole network moves the latents, and a code moves only by its own
    steps: in short runs it cannot follow at 1."""
    init: Path | None = None
    """Bundle or run folder from whose weights a new run is initialized; None: random weights. Its
    network and quantizer must be those of the run."""
    codes_from: Literal["init", "latents"] = "init"
    """Initial codes of a run with init. latents: k-means centers of the latents that init's encoder
    computes for training pictures, so that a codebook can be larger than init's, or of another
    quantizer; then only encoder and decoder are init's."""
    adopt_init: bool = False
    """Take network, quantizer and value range from init, and the losses of its family if those of
    the run are the defaults."""
    train_only: Literal["all", "decoder"] = "all"
    """decoder: encoder and codes remain those of init, so that pictures keep their tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # The tokenizer of a run that adopts another one is not the run's own.
        step = 1 if self.adopt_init else self.tokenizer.network.downsampling
        for name in ("size", "last_size"):
            if (side := getattr(self.data, name)) is not None and (side < 1 or side % step):
                raise ValueError(
                    f"data.{name} must be a multiple of {step}, the tokenizer's downsampling, "
                    f"got {side}"
                )
        if not 0 <= self.data.last_share <= 1:
            raise ValueError(f"data.last_share must be in [0, 1], got {self.data.last_share}")
        if not (self.codes_rate > 0 and math.isfinite(self.codes_rate)):
            raise ValueError(f"codes_rate must be above 0, got {self.codes_rate}")
        quantizer = self.tokenizer.quantizer
        if (
            isinstance(quantizer, RegVQConfig)
            and quantizer.prior == "histogram"
            and quantizer.prior_file is None
        ):
            raise ValueError("quantizer.prior histogram needs a file: set quantizer.prior_file")
        if self.tokenizer.levels.count > 1:
            if self.loss.contrastive == "pcl":
                raise ValueError(
                    "loss.contrastive pcl needs the distance of each drawn code, which residual "
                    "and product codes do not state: set loss.contrastive cl or none"
                )
            if self.codes_from == "latents":
                raise ValueError(
                    "codes_from latents sets one codebook, but the tokenizer has "
                    f"{self.tokenizer.levels.count} levels: set codes_from init"
                )
        if self.codes_from not in ("init", "latents"):
            raise ValueError(f"codes_from must be 'init' or 'latents', got {self.codes_from!r}")
        if self.codes_from == "latents" and self.init is None:
            raise ValueError("codes_from latents needs the encoder that computes them: set init")
        if self.train_only not in ("all", "decoder"):
            raise ValueError(f"train_only must be 'all' or 'decoder', got {self.train_only!r}")
        if self.train_only == "decoder":
            if self.init is None and not self.adopt_init:
                raise ValueError("train_only decoder needs a trained tokenizer: set init")
            if self.stages is not None:
                raise ValueError("train_only decoder has no stages: set stages to None")
        if self.features.name == "none" and (
            self.loss.perceptual or self.loss.contrastive != "none"
        ):
            raise ValueError(
                "the perceptual and the contrastive loss need features: choose features.name "
                "squeezenet or vgg19, or set loss.perceptual 0 and loss.contrastive none"
            )
        if self.second_features.name == "auto":
            raise ValueError("second_features.name must be a network's or none, got auto")
        if (self.second_features.name == "none") != (self.loss.second_perceptual == 0):
            raise ValueError(
                "second features need a name, second_features.name, and a weight, "
                "loss.second_perceptual"
            )
        if self.loss.lpips and "vgg19" in (self.features.name, self.second_features.name):
            raise ValueError("loss.lpips has no heads for vgg19: set the features' name to vgg16")

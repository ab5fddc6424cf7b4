"""Settings of a prior's run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from regvq.priors import AnyPriorConfig, DiffusionConfig

from .base import AdamWConfig, CommonConfig, PicturesConfig


@dataclass(frozen=True)
class SamplingConfig:
    """The settings of ``Prior.sample`` that a bundle recommends."""

    guidance: float = 1.0
    """Scale of classifier-free guidance, from the unconditional prediction towards the conditional
    one and beyond; 1: no guidance."""
    temperature: float = 1.0
    """Divides the logits; below 1, likely codes become more likely."""
    top_k: int = 0
    """Sample among this many of the likeliest codes; 0: all."""
    top_p: float = 1.0
    """Sample among the likeliest codes that together have this probability."""
    steps: int | None = None
    """Sampling steps; None: the prior's own number."""


@dataclass(frozen=True)
class PriorRunConfig(CommonConfig):
    """A prior's run: all settings that determine its result, and its reports."""

    prior: AnyPriorConfig = field(default_factory=DiffusionConfig)
    """The model. Its codebook_size and grid follow from the tokens that it is trained on."""
    tokenizer: Path = Path("checkpoints/scenes-regvq")
    """The tokenizer's bundle or run folder."""
    tokens: Path | None = None
    """Token shards of the training pictures, written by train/encode.py with this tokenizer; None:
    pictures are encoded as they are drawn, one forward pass each."""
    data: PicturesConfig = field(default_factory=PicturesConfig)
    """The pictures. With tokens, only the held-out pictures are read from there."""
    optimizer: AdamWConfig = field(default_factory=AdamWConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    embeddings: Literal["codes", "random"] = "codes"
    """Initialization of a discrete prior's token embeddings and output weights: random projections
    of the tokenizer's codes, so that similar tokens are similar from the first step on, or random
    weights."""
    init: Path | None = None
    """Bundle or run folder of a prior from whose weights a new run is initialized; None: random
    weights. Its kind, sizes and conditions must be those of the run. From a prior of another kind
    and the same width, or with fewer conditions, the parts that both have are taken. Its tokenizer
    may be another one, such as an earlier version of a retrained tokenizer."""
    train_only: Literal["all", "layout", "tokens"] = "all"
    """For a prior that draws maps: train only the part that draws maps (layout) or only the part
    that draws tokens. The other part remains that of init, and costs no time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        only = self.train_only
        if only not in ("all", "layout", "tokens"):
            raise ValueError(f"train_only must be 'all', 'layout' or 'tokens', got {only!r}")
        if only != "all":
            if self.init is None:
                raise ValueError(f"train_only {only} needs a trained prior: set init")
            if getattr(self.prior, "layout", None) is None:
                raise ValueError(f"train_only {only} needs a prior that draws maps: set its layout")

"""What a prior's run is: frozen dataclasses that recipes fill in and flags override."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from regvq.priors import AnyPriorConfig, DiffusionConfig

from .tokenizer import AdamWConfig, CommonConfig, PicturesConfig


@dataclass(frozen=True)
class SamplingConfig:
    """How pictures are drawn: the settings of ``Prior.sample`` that a bundle hands on."""

    guidance: float = 1.0
    """How far beyond the condition's own prediction to go from the unconditional one; 1: not."""
    temperature: float = 1.0
    """Divides the logits; below 1 the likelier codes gain."""
    top_k: int = 0
    """Draw among so many likeliest codes; 0: all."""
    top_p: float = 1.0
    """Draw among the likeliest codes that together have this probability."""
    steps: int | None = None
    """Steps of drawing; None: the prior's own number."""


@dataclass(frozen=True)
class PriorRunConfig(CommonConfig):
    """A prior's run: everything that its result depends on, and how it reports."""

    prior: AnyPriorConfig = field(default_factory=DiffusionConfig)
    """The model. Its codebook_size and grid follow from the tokens that it is trained on."""
    tokenizer: Path = Path("checkpoints/scenes-regvq")
    """The tokenizer's bundle or run folder."""
    tokens: Path | None = None
    """Token shards of the training pictures, from train/encode.py with this tokenizer; None:
    pictures are encoded as they are drawn, a forward pass each."""
    data: PicturesConfig = field(default_factory=PicturesConfig)
    """The pictures. With tokens, only the held-out ones are read from there."""
    optimizer: AdamWConfig = field(default_factory=AdamWConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    embeddings: Literal["codes", "random"] = "codes"
    """How a discrete prior's token embeddings and output weights begin: as random projections of
    the tokenizer's codes, so that like tokens are alike from the first step on, or at random."""
    init: Path | None = None
    """Bundle or run folder of a prior whose weights a new run begins with; None: random ones. Kind,
    sizes and conditions must be the run's; of another kind of the same width, or of one that is
    told less, what both have is taken. The tokenizer may be another, retrained one, say."""
    train_only: Literal["all", "layout", "tokens"] = "all"
    """Of a prior that draws maps, only what draws them, or only what draws tokens; the other stays
    that of init, and costs no time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        only = self.train_only
        if only not in ("all", "layout", "tokens"):
            raise ValueError(f"train_only must be 'all', 'layout' or 'tokens', got {only!r}")
        if only != "all":
            if self.init is None:
                raise ValueError(f"train_only {only} needs the prior that it goes on: set init")
            if getattr(self.prior, "layout", None) is None:
                raise ValueError(f"train_only {only} needs a prior that draws maps: set its layout")

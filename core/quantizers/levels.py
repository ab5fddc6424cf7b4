"""Several ids per position: residual and product codes over any quantizer.

*Residual codes* (RVQ; SoundStream, arXiv 2107.03312; EnCodec, arXiv 2210.13438; RQ-VAE, arXiv
2203.01941) quantize what the levels before have left: K^L combinations from L codebooks of K codes.
*Product codes* (grouped codes; product quantization, Jégou et al. 2011; as in wav2vec 2.0, arXiv
2006.11477) quantize each group of the channels by itself. Products of residual codes are both.

Token ids have an axis of levels behind the batch: int64 (B, L, h, w). Groups are levels, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .base import Quantized, Quantizer

Replaced = dict[str, Tensor]
"""The ids int64 (R,) of replaced codes, or their mask, bool (K,), by the path of their quantizer
below another one, as ``get_submodule`` takes it; "" is that quantizer itself."""

DROPPED = -1
"""The id of a level that quantizer dropout left out."""


class LeveledQuantizer(nn.Module, ABC):
    """A quantizer with several ids per position; the base class of residual and product codes."""

    sizes: tuple[int, ...]
    """K of each level."""
    dim: int
    """D, the length of a latent."""

    def __init__(self, config: Any, dim: int, parts: int, part_dim: int) -> None:
        """Build ``parts`` quantizers of ``config.base``, or one for all, if it is shared."""
        super().__init__()
        self.config, self.dim = config, dim
        count = 1 if config.shared else parts
        self.quantizers = nn.ModuleList(config.base.build(part_dim) for _ in range(count))

    def _at(self, part: int) -> Any:
        return self.quantizers[0 if self.config.shared else part]

    @property
    def levels(self) -> int:
        """L, the number of ids per position."""
        return len(self.sizes)

    @property
    def size(self) -> int:
        """K, the number of codes of a level: all levels have the same base."""
        return self.sizes[0]

    @property
    def is_stochastic(self) -> bool:
        """True if the base can draw codes with a mask ratio."""
        return any(part.is_stochastic for part in self.quantizers)  # type: ignore[misc]

    @property
    def set_by_config(self) -> tuple[str, ...]:
        """Buffers whose values the config sets, as ``Quantizer.set_by_config``."""
        return tuple(
            f"quantizers.{number}.{name}"
            for number, part in enumerate(self.quantizers)
            for name in part.set_by_config  # type: ignore[union-attr]
        )

    @property
    def encoder_frozen(self) -> bool:
        """True while the encoder does not move, as ``Quantizer.encoder_frozen``."""
        return self.quantizers[0].encoder_frozen  # type: ignore[return-value]

    @encoder_frozen.setter
    def encoder_frozen(self, frozen: bool) -> None:
        for part in self.quantizers:
            part.encoder_frozen = frozen  # type: ignore[assignment]

    @property
    def bits(self) -> float:
        """The bits of a position's ids: the sum of log2 K over the levels."""
        return sum(float(torch.tensor(size, dtype=torch.float64).log2()) for size in self.sizes)

    @abstractmethod
    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Quantize latents (B, D, h, w); ids are (B, L, h, w), each loss is summed over levels."""

    @abstractmethod
    def assign(self, z: Tensor) -> Tensor:
        """Return the ids int64 (B, L, h, w) of latents (B, D, h, w)."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Return the latents float32 (B, D, h, w) of ids (B, n, h, w), n <= L: the first n levels.

        A level adds nothing where its id is -1.
        """

    @abstractmethod
    def level_codebooks(self) -> list[Tensor]:
        """Return the codes of each level, float32 (K, d)."""

    @abstractmethod
    def level_quantizer(self, level: int) -> Quantizer:
        """Return the quantizer of a level."""

    @abstractmethod
    def level_parts(self, z: Tensor, ids: Tensor) -> list[tuple[Quantizer, Tensor]]:
        """Return each level's quantizer and the latents (B, d, h, w) that it quantizes.

        ``z`` (B, D, h, w) are the latents and ``ids`` (B, L, h, w) their ids.
        """

    def embed_level(self, ids: Tensor, level: int) -> Tensor:
        """Return the latents float32 (B, D, h, w) of one level's ids (B, h, w) alone: all other
        levels add nothing."""
        whole = ids.new_full((len(ids), self.levels, *ids.shape[1:]), DROPPED)
        whole[:, level] = ids
        return self.embed(whole)

    def codebook(self) -> Tensor:
        """Raise ValueError: there is no single codebook."""
        raise ValueError(
            f"residual and product codes have a codebook for each of their {self.levels} levels: "
            "use level_codebooks()"
        )

    def log_posterior(self, rows: Tensor) -> Tensor:
        """Raise ValueError: a posterior exists for each level, not for their combinations."""
        raise ValueError(
            f"residual and product codes have no posterior over the combinations of their "
            f"{self.levels} levels"
        )

    def initialize_codes(self, centers: Tensor) -> None:
        """Raise ValueError: centers of latents are codes of a single codebook only."""
        raise ValueError(f"the codes of {self.levels} levels cannot be set to centers of latents")

    def schedule(self, progress: float) -> None:
        """Set the values that change over a run, before each step; ``progress`` in [0, 1]."""
        for quantizer in self.quantizers:
            quantizer.schedule(progress)  # type: ignore[operator]

    @abstractmethod
    def update(self, z: Tensor, ids: Tensor) -> Replaced:
        """Apply the rules of all codebooks that have no gradient, after each step.

        ``z`` (B, D, h, w) and ``ids`` (B, L, h, w) are those of the step. Returns the replaced
        codes of each codebook that has any.
        """

    def _update_parts(self, inputs: Sequence[Tensor], ids: Sequence[Tensor]) -> Replaced:
        """Apply the rules of the parts' codebooks to what each part has met in a step. A shared
        codebook has met the inputs of all parts. Return as ``update``."""
        if self.config.shared:
            found = self._at(0).update(torch.cat(list(inputs)), torch.cat(list(ids)))
            return replaced_in(found, "quantizers.0")
        replaced: Replaced = {}
        for part, (latents, chosen) in enumerate(zip(inputs, ids, strict=True)):
            found = self._at(part).update(latents, chosen)
            replaced |= replaced_in(found, f"quantizers.{part}")
        return replaced


def one_codebook(quantizer: Quantizer | LeveledQuantizer, purpose: str) -> Quantizer:
    """Return the quantizer of a tokenizer with one id per position.

    Raises ValueError with the ``purpose`` ("the mask sweep") if there are several levels.
    """
    if isinstance(quantizer, LeveledQuantizer):
        raise ValueError(
            f"{purpose} needs a single codebook, but this tokenizer has {quantizer.levels} levels"
        )
    return quantizer


def replaced_in(found: Tensor | Replaced | None, path: str = "") -> Replaced:
    """Return the replaced codes that ``update`` of a quantizer returned, by the quantizer's path
    below that at ``path``."""
    if found is None:
        return {}
    if isinstance(found, Tensor):
        return {path: found}
    return {f"{path}.{below}" if path else below: ids for below, ids in found.items()}


def add_losses(total: dict[str, Tensor], losses: dict[str, Tensor]) -> None:
    """Add the losses of a part to those of the parts before, by name."""
    for name, loss in losses.items():
        total[name] = total[name] + loss if name in total else loss


def codes_of(quantizer: Quantizer, ids: Tensor) -> Tensor:
    """Return the codes (B, d, h, w) of ids (B, h, w), 0 where a level was left out."""
    return quantizer.embed(ids.clamp_min(0)) * (ids != DROPPED).unsqueeze(1)


def check_levels(ids: Tensor, levels: int) -> None:
    """Raise ValueError unless ``ids`` are int64 (B, n, h, w) with n from 1 to ``levels``."""
    if ids.ndim != 4 or not 1 <= ids.shape[1] <= levels:
        raise ValueError(
            f"ids must be (B, n, h, w) with n from 1 to {levels} levels, got {tuple(ids.shape)}"
        )

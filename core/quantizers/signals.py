"""Any quantizer for signals of any shape: sound, text, video, actions, with padding.

```python
quantizer = SignalQuantizer(RegVQConfig(size=512).build(dim=64), channels="last")
out = quantizer(latents, valid)  # latents (B, N, 64), valid bool (B, N)
```
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .base import Quantized, Quantizer
from .levels import LeveledQuantizer, Replaced

PADDING = -1
"""The id of a padded place."""


class SignalQuantizer(nn.Module):
    """A quantizer of latents with any number of places, some of which may be padding.

    ``channels="first"`` takes (B, D, *places): (B, D, T), (B, D, h, w) or (B, D, t, h, w);
    ``channels="last"`` takes (B, *places, D), such as (B, N, D). A place is a position with a
    latent of D numbers. ``valid``, bool (B, *places), is true for real places. Padded places change
    no loss, no statistic and no code; their id is -1 and their latent 0. With residual or product
    codes (``levels``), ids have the axis of levels behind the batch: (B, L, *places).

    With padding, all valid places of the batch form one group: rules for each picture (the share of
    drawn codes, Reg-VQ's ``prior_scope="image"``) then apply to the batch. Without padding the
    result is that of the wrapped quantizer. On a GPU, the host waits for the number of valid places
    and for the check that latents are finite.
    """

    def __init__(
        self,
        quantizer: Quantizer | LeveledQuantizer,
        channels: Literal["first", "last"] = "first",
    ) -> None:
        super().__init__()
        if channels not in ("first", "last"):
            raise ValueError(f"channels must be 'first' or 'last', got {channels!r}")
        self.quantizer = quantizer
        self.channels = channels
        self._leveled = isinstance(quantizer, LeveledQuantizer)

    @property
    def dim(self) -> int:
        """D, the length of a latent."""
        return self.quantizer.dim

    def schedule(self, progress: float) -> None:
        """Set the values that change over a run, before each step; ``progress`` in [0, 1]."""
        self.quantizer.schedule(progress)

    def forward(
        self,
        z: Tensor,
        valid: Tensor | None = None,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Quantize latents; ``z`` of the result has their shape, ``ids``, ``mask`` and
        ``perturbation`` have that of the places. Further arguments as ``Quantizer.forward``.

        Raises ValueError for latents of another shape, that are not finite, or without any place.
        """
        rows, places = self._rows(z, valid)
        if valid is None:
            grid = rows.view(len(z), -1, self.dim).transpose(1, 2).unsqueeze(3)
        else:
            grid = _grid(rows)
        found = self.quantizer(grid, mask_ratio=mask_ratio, generator=generator)
        back = found.z.squeeze(3).transpose(1, 2).reshape(-1, self.dim)
        return Quantized(
            self._latents(_all(back, valid, 0), places),
            self._ids(found.ids, valid, places, PADDING),
            found.losses,
            None if found.mask is None else self._ids(found.mask, valid, places, False),
            None if found.perturbation is None else self._ids(found.perturbation, valid, places, 0),
        )

    def assign(self, z: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the ids int64 (B, *places) of latents, -1 at padded places."""
        rows, places = self._rows(z, valid)
        return self._ids(self.quantizer.assign(_grid(rows)), valid, places, PADDING)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the codes of ids int64 (B, *places) as latents; 0 where an id is -1.

        Of several levels, ids (B, n, *places) may be those of the first n; a level adds nothing
        where its id is -1.
        """
        numbers, places = self._numbers(ids)
        known = numbers if self._leveled else numbers.clamp_min(0)  # levels have no code of -1
        found = self.quantizer.embed(_of_grid(known, self._leveled))
        valid = (numbers != PADDING).any(1, keepdim=True)
        return self._latents(found[0, :, :, 0].t() * valid, places)

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Tensor | Replaced | None:
        """Apply the codebook's rules without a gradient, after each step (``Quantizer.update``).

        ``z`` are the latents of the step and ``ids`` the result's; padded places do not count.
        """
        numbers, places = self._numbers(ids)
        valid = (numbers != PADDING).any(1)
        rows, _ = self._rows(z, valid.view(places))
        return self.quantizer.update(_grid(rows), _of_grid(numbers[valid], self._leveled))

    def _numbers(self, ids: Tensor) -> tuple[Tensor, torch.Size]:
        """Return ids as rows (B * places, L), L = 1 without levels, and the shape (B, *places)."""
        last = ids.movedim(1, -1) if self._leveled else ids.unsqueeze(-1)
        return last.reshape(-1, last.shape[-1]), last.shape[:-1]

    def _ids(self, x: Tensor, valid: Tensor | None, places: torch.Size, padding: float) -> Tensor:
        """Return numbers of the valid places, of a grid (b, [L,] n, 1), as those of all places."""
        if not self._leveled:
            return _all(x.flatten(), valid, padding).view(places)
        rows = x.squeeze(3).transpose(1, 2).reshape(-1, x.shape[1])
        return _all(rows, valid, padding).view(*places, -1).movedim(-1, 1)

    def _rows(self, z: Tensor, valid: Tensor | None) -> tuple[Tensor, torch.Size]:
        """Return the latents of valid places as rows (N, D), and the shape (B, *places)."""
        words = "(B, D, ...)" if self.channels == "first" else "(B, ..., D)"
        axis = 1 if self.channels == "first" else -1
        if z.ndim < 3 or z.shape[axis] != self.dim:
            raise ValueError(
                f"latents must be {words} with D = {self.dim}, got {tuple(z.shape)} "
                f"with channels={self.channels!r}"
            )
        if not z.is_floating_point():
            raise ValueError(f"latents must be floating-point numbers, got {z.dtype}")
        last = z.movedim(1, -1) if self.channels == "first" else z
        places = last.shape[:-1]
        if valid is not None and (valid.shape != places or valid.dtype != torch.bool):
            raise ValueError(
                f"valid must be bool {tuple(places)} for latents {tuple(z.shape)}, got "
                f"{str(valid.dtype).removeprefix('torch.')} {tuple(valid.shape)}"
            )
        rows = last.reshape(-1, self.dim) if valid is None else last[valid]
        if not torch.compiler.is_compiling():
            _check(rows, tuple(z.shape), padded=valid is not None and valid.numel() > 0)
        return rows, places

    def _latents(self, rows: Tensor, places: torch.Size) -> Tensor:
        last = rows.view(*places, self.dim)
        return last.movedim(-1, 1) if self.channels == "first" else last


def _check(rows: Tensor, shape: tuple[int, ...], padded: bool) -> None:
    """Raise ValueError unless there are rows, all of them with finite numbers."""
    if not len(rows):
        raise ValueError(f"the batch of latents {shape} is {'all padding' if padded else 'empty'}")
    if not bool(rows.isfinite().all()):
        count = int((~rows.isfinite()).any(1).sum())
        raise ValueError(f"{count} of {len(rows)} latents of the batch {shape} are not finite")


def _grid(rows: Tensor) -> Tensor:
    """Return rows (N, D) as latents (1, D, N, 1)."""
    return rows.t()[None, :, :, None]


def _of_grid(numbers: Tensor, leveled: bool) -> Tensor:
    """Return ids (N, L) as those of a grid: (1, L, N, 1), or (1, N, 1) without levels."""
    return _grid(numbers) if leveled else numbers[None]


def _all(some: Tensor, valid: Tensor | None, padding: float) -> Tensor:
    """Return rows or numbers of the valid places as those of all places."""
    if valid is None:
        return some
    whole = some.new_full((valid.numel(), *some.shape[1:]), padding)
    return whole.index_copy(0, valid.flatten().nonzero().flatten(), some)

"""A user's finished runs: their pictures can be inpainted, and their settings restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import canvases, priors, semantic_maps
from .canvases import InpaintSource
from .errors import UserError
from .generation import GenerationRequest, GenerationResult
from .priors import PriorHandle

REMEMBERED = 8
"""Number of runs that are kept per user."""
SAMPLED = ("n", "seed", "guidance", "temperature", "top_k", "top_p", "steps")
"""The names of the sampling settings, in the order of the page's inputs."""


@dataclass(frozen=True)
class SavedRun:
    """A finished run as a user's session keeps it."""

    run: int
    """The run's number."""
    mode: str
    prior: str
    tokenizer: str
    fingerprint: str
    """The fingerprint of the tokenizer."""
    prompt: str
    sampled: tuple[Any, ...]
    """The page's settings in the order of SAMPLED, None for the prior's own."""
    label: int | None
    plan: np.ndarray | None
    source: InpaintSource | None
    marked: np.ndarray | None
    """bool (h, w): the tokens that were inpainted."""
    ids: np.ndarray
    layout: np.ndarray | None
    pixels: list[np.ndarray]


@dataclass(frozen=True)
class RestoredSettings:
    """The settings of an earlier run, for the prior that it used."""

    mode: str
    prior: str
    sampled: tuple[Any, ...]

    def fits(self, mode: str, prior: str) -> bool:
        """Return True if they belong to this mode and prior."""
        return (self.mode, self.prior) == (mode, prior)


def saved_run(
    run: int,
    mode: str,
    request: GenerationRequest,
    result: GenerationResult,
    page_prompt: Any,
    source: InpaintSource | None,
    sampled: Sequence[Any],
) -> SavedRun:
    """Return a finished run in the form that a session keeps."""
    handle = request.handle
    return SavedRun(
        run=run,
        mode=mode,
        prior=handle.name,
        tokenizer=handle.tokenizer_handle.name,
        fingerprint=handle.fingerprint,
        prompt=request.prompt or str(page_prompt or ""),
        sampled=tuple(sampled),
        label=request.label,
        plan=request.plan,
        source=source,
        marked=None if request.known is None else request.known < 0,
        ids=result.ids,
        layout=result.layout,
        pixels=[np.asarray(picture) for picture in result.pictures],
    )


def add_run(runs: list[SavedRun] | None, run: SavedRun) -> list[SavedRun]:
    """Return the kept runs with a further one."""
    return [*(runs or []), run][-REMEMBERED:]


def find_run(runs: list[SavedRun] | None, number: Any, index: Any) -> SavedRun:
    """Return the run with this number, which has a picture ``index``. Raises UserError."""
    for saved in runs or []:
        if saved.run == number and isinstance(index, int) and 0 <= index < len(saved.ids):
            return saved
    raise UserError(f"Only the last {REMEMBERED} runs are kept; generate the picture again.")


def inpainting_of(saved: SavedRun, index: int) -> tuple[PriorHandle, InpaintSource]:
    """Return a prior that can inpaint a generated picture, and the picture. Raises UserError."""
    usable = priors.inpainting_names(saved.fingerprint)
    if not usable:
        raise UserError("No available prior can inpaint this picture.")
    prior = saved.prior if saved.prior in usable else usable[0]
    source = InpaintSource(saved.tokenizer, saved.ids[index], saved.pixels[index])
    return priors.open_prior(prior, "complete"), source


def map_of(saved: SavedRun, index: int) -> tuple[PriorHandle, dict[str, Any]]:
    """Return the prior and a canvas with the map that it generated before a picture.

    Raises UserError if there was no map.
    """
    if saved.layout is None:
        raise UserError("This picture was generated without a map.")
    handle = priors.open_prior(saved.prior, "semantic")
    width, height = handle.size
    cells = saved.layout[index]
    # The page has no class for "unlabeled"; the first class takes its place.
    cells = np.where(cells < len(semantic_maps.legend(handle).classes), cells, 0)
    rows, columns = cells.shape
    ids = cells.repeat(height // rows, 0).repeat(width // columns, 1)
    return handle, canvases.map_canvas(handle, ids)

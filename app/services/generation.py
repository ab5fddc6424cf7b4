"""Pictures from a prior: what a visitor asked for, checked; drawn step by step; measured.

The tab Generate as an API; its page is ``app.tabs.generate``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..ui.errors import in_a_sentence
from ..ui.pictures import page_file, png
from . import checkpoints, priors, sampling, semantic_maps
from .agreement import agreement
from .checkpoints import LOCK
from .priors import Painter
from .sampling import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.conditions import Condition
    from regvq.priors import Step

UPDATES = 10
"""How often a growing picture is shown, at most."""
EMPTY = (20, 23, 28)
"""A token that is not drawn yet."""


@dataclass(frozen=True)
class Order:
    """A run that was checked: which prior, what it is told, what is kept, how it is sampled."""

    painter: Painter
    settings: Settings
    prompt: str = ""
    note: str = ""
    plan: np.ndarray | None = field(default=None, compare=False)
    """A map int64 (H, W) of classes."""
    known: np.ndarray | None = field(default=None, compare=False)
    """Tokens int64 (h, w) that are kept; -1 = to be drawn."""

    @property
    def condition(self) -> Condition | None:
        """What the prior is told; what it was not told, it is free in."""
        import torch

        from regvq.conditions import Condition

        if not self.prompt and self.plan is None:
            return None
        return Condition(
            texts=(self.prompt,) if self.prompt else None,
            segmentation=None if self.plan is None else torch.from_numpy(self.plan)[None],
        )

    @property
    def figures(self) -> dict[str, Any]:
        """What the run was asked for, as JSON: enough to draw the same again."""
        said = asdict(self.settings)
        said = {name: said[name] for name in said if said[name] is not None}
        about = {"prior": self.painter.name, "tokenizer": self.painter.model.name, **said}
        about["seeds"] = self.settings.seeds
        if self.prompt:
            about["prompt"] = self.prompt
        if self.note:
            about["note"] = self.note
        if self.known is not None:
            about["tokens_repainted"] = int((self.known < 0).sum())
        return about


@dataclass(frozen=True)
class Drawn:
    """A finished run."""

    pictures: tuple[Image.Image, ...]
    ids: np.ndarray
    """int64 (n, h, w)"""
    figures: dict[str, Any]
    layout: np.ndarray | None = None
    """The maps that the prior drew first, classes int64 (n, h, w), 255 = unlabelled."""


# ---------------------------------------------------------------- orders


def text_order(prompt: Any, prior: Any, *how: Any) -> Order:
    """A picture of a prompt. Raises Refused or CheckpointError."""
    painter = priors.painter(prior, "text")
    chosen = sampling.settings(painter, *how)
    text, note = priors.told_by_text(painter, prompt)
    return Order(painter, chosen, text, note)


def map_order(plan: np.ndarray | str | None, prior: Any, *how: Any, prompt: Any = "") -> Order:
    """A picture of a map: a file in class colours, or classes int64 (H, W)."""
    painter = priors.painter(prior, "semantic")
    chosen = sampling.settings(painter, *how)
    if not isinstance(plan, np.ndarray):
        plan = semantic_maps.read_map(plan, semantic_maps.legend(painter), painter.size)
    text, note = "", ""
    if "text" in painter.told:
        text, note = priors.told_by_text(painter, prompt, needed=False)
    return Order(painter, chosen, text, note, plan=plan)


def rest_order(
    ids: np.ndarray, marked: np.ndarray, prior: Any, *how: Any, prompt: Any = ""
) -> Order:
    """The rest of a picture: tokens ``ids`` int64 (h, w), drawn anew where ``marked`` is true."""
    painter = priors.painter(prior, "complete")
    chosen = sampling.settings(painter, *how)
    text, note = "", ""
    if "text" in painter.told:
        text, note = priors.told_by_text(painter, prompt, needed=False)
    known = np.where(semantic_maps.checked_mask(marked), -1, ids)
    return Order(painter, chosen, text, note, known=known)


def tokens_of(image: Any, painter: Painter) -> np.ndarray:
    """A visitor's picture as the prior's tokens int64 (h, w): its middle, at the prior's size."""
    from regvq.images import to_tensor

    picture = checkpoints.open_picture(image)
    fitted = semantic_maps.fitted(picture.image, painter.size, Image.Resampling.LANCZOS)
    with LOCK:
        return painter.model.tokenizer.encode(to_tensor(fitted)[None])[0].cpu().numpy()


# ---------------------------------------------------------------- drawing


def steps(order: Order) -> Iterator[Step]:
    """The steps of a run that are worth showing, at most UPDATES, and always the last one and the
    one with which a map is whole."""
    import torch

    known = None if order.known is None else torch.from_numpy(order.known)
    shown = 0
    for step in sampling.sample(order.painter, order.condition, order.settings, known):
        due = step.done * UPDATES // max(1, step.total)
        whole = step.sketching and int(step.layout.min()) >= 0
        if due > shown or whole or step.done == step.total:
            shown = due
            yield step


def growing(order: Order, step: Step) -> list[np.ndarray]:
    """An unfinished run as pictures uint8 (H, W, 3): what each token's code paints, side by side;
    as long as there is none, the map that the prior draws first; of a latent prior, what its
    latents stand for so far."""
    if step.ids.is_floating_point():
        return [np.asarray(picture) for picture in painted(order.painter, step.ids)]
    with LOCK:
        tiles = priors.paints(order.painter)
    f, ids = tiles.shape[1], step.ids.numpy()
    if step.sketching:
        colours = semantic_maps.legend(order.painter).table
        tiles = np.broadcast_to(colours[:, None, None], (len(colours), f, f, 3))
        ids = step.layout.numpy()
    blank = np.broadcast_to(np.array(EMPTY, np.uint8), (1, f, f, 3)).copy()
    blank[:, : max(1, f // 8), : max(1, f // 8)] = (58, 66, 77)  # a faint grid of what is to come
    table = np.concatenate([tiles, blank])
    known = (ids >= 0) & (ids < len(tiles))
    n, rows, columns = ids.shape
    shown = table[np.where(known, ids, len(tiles))]
    return list(shown.swapaxes(2, 3).reshape(n, rows * f, columns * f, 3))


def finished(order: Order, step: Step, seconds: float) -> Drawn:
    """The pictures of a run and its figures; with a map, how well they keep to it."""
    ids = step.ids
    pictures = painted(order.painter, ids)
    figures = {**order.figures, "seconds": round(seconds, 2)}
    if order.plan is not None:
        figures["agreement"] = agreement(order.painter, order.plan, pictures)
    kept = ids.numpy() if not ids.is_floating_point() else _codes(order.painter, ids)
    layout = None if step.layout is None else step.layout.numpy()
    return Drawn(tuple(pictures), kept, figures, layout)


def painted(painter: Painter, ids: Tensor) -> list[Image.Image]:
    """Pictures of token ids (n, h, w), or of latents (n, D, h, w)."""
    from regvq.images import to_pictures

    with LOCK:
        tokenizer = painter.model.tokenizer
        return to_pictures(tokenizer.decode(ids.to(tokenizer.device)).cpu())


def _codes(painter: Painter, latents: Tensor) -> np.ndarray:
    with LOCK:
        tokenizer = painter.model.tokenizer
        return tokenizer.quantizer.assign(latents.to(tokenizer.device)).cpu().numpy()


# ---------------------------------------------------------------- the API


Answer = tuple[list[tuple[str, str]], list, dict[str, Any]]
"""Gallery, token ids and figures of a run."""


def answers(order: Order) -> Iterator[Answer]:
    """What grows, with how many steps are "done" of "total" and -1 for ids that are not drawn yet;
    then what the run ends with. Closing the iterator ends the work."""
    began = time.monotonic()
    for step in steps(order):
        if step.sketching or step.done < step.total:
            grown = [Image.fromarray(pixels) for pixels in growing(order, step)]
            ids = [] if step.ids.is_floating_point() else step.ids.tolist()
            yield _gallery(order, grown), ids, {"done": step.done, "total": step.total}
    drawn = finished(order, step, time.monotonic() - began)
    figures = dict(drawn.figures)
    if drawn.layout is not None:
        figures["layout"] = drawn.layout.tolist()
    yield _gallery(order, drawn.pictures), drawn.ids.tolist(), figures


def _gallery(order: Order, pictures: Sequence[Image.Image]) -> list[tuple[str, str]]:
    return [
        (page_file(png(picture), f"picture-{i + 1}")["path"], f"seed {seed}")
        for i, (picture, seed) in enumerate(zip(pictures, order.settings.seeds, strict=True))
    ]


@in_a_sentence
def generate_text(
    prompt: Any,
    prior: Any = None,
    n: Any = 1,
    seed: Any = 0,
    guidance: Any = None,
    temperature: Any = None,
    top_k: Any = None,
    top_p: Any = None,
    steps: Any = None,
) -> Iterator[Answer]:
    """/generate_text: gallery, ids, figures; among these "layout", the maps of a prior that draws
    them first. It streams, see ``answers``, as the others do."""
    how = (n, seed, guidance, temperature, top_k, top_p, steps)
    yield from answers(text_order(prompt, prior, *how))


@in_a_sentence
def generate_semantic(
    plan: Any,
    prior: Any = None,
    n: Any = 1,
    seed: Any = 0,
    guidance: Any = None,
    temperature: Any = None,
    top_k: Any = None,
    top_p: Any = None,
    steps: Any = None,
    prompt: Any = "",
) -> Iterator[Answer]:
    """/generate_semantic: gallery, ids, figures with "agreement"."""
    how = (n, seed, guidance, temperature, top_k, top_p, steps)
    yield from answers(map_order(plan, prior, *how, prompt=prompt))


@in_a_sentence
def complete(
    image: Any,
    mask: Any,
    prior: Any = None,
    seed: Any = 0,
    n: Any = 1,
    guidance: Any = None,
    temperature: Any = None,
    top_k: Any = None,
    top_p: Any = None,
    steps: Any = None,
    prompt: Any = "",
) -> Iterator[Answer]:
    """/complete: gallery, ids, figures."""
    painter = priors.painter(prior, "complete")
    ids = tokens_of(image, painter)
    marked = semantic_maps.read_mask(mask, ids.shape, painter.size)
    how = (n, seed, guidance, temperature, top_k, top_p, steps)
    yield from answers(rest_order(ids, marked, painter.name, *how, prompt=prompt))

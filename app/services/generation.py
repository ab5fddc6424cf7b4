"""Generation with a prior: a checked request, its steps and previews, the finished pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from regvq.channels import count_words

from . import priors, sampling, semantic_maps
from .agreement import agreement
from .encoding import PageFile, png_file
from .errors import UserError
from .model_lock import LOCK
from .picture_reader import crop_to_fit
from .priors import PriorHandle
from .sampling import Settings
from .uploads import open_picture

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.conditions import Condition
    from regvq.priors import Step

UPDATES = 10
"""The largest number of times that an unfinished picture is shown."""
EMPTY = (20, 23, 28)
"""Color of a token that is not generated yet."""
GRID = (58, 66, 77)
"""Color of the mark in the corner of such a token: a faint grid."""


@dataclass(frozen=True)
class GenerationRequest:
    """A checked request: the prior, its conditions, the tokens to keep, the sampling settings."""

    handle: PriorHandle
    settings: Settings
    prompt: str = ""
    note: str = ""
    """The part of the prompt that is ignored, in words."""
    label: int | None = None
    """The number of a class."""
    plan: np.ndarray | None = field(default=None, compare=False)
    """A semantic map, classes int64 (H, W)."""
    known: np.ndarray | None = field(default=None, compare=False)
    """Tokens int64 (h, w) to keep; -1 for tokens to generate."""

    @property
    def condition(self) -> Condition | None:
        """The prior's condition; None for an unconditional picture."""
        import torch

        from regvq.conditions import Condition

        if not self.prompt and self.plan is None and self.label is None:
            return None
        return Condition(
            texts=(self.prompt,) if self.prompt else None,
            labels=None if self.label is None else torch.tensor([self.label]),
            segmentation=None if self.plan is None else torch.from_numpy(self.plan)[None],
        )

    @property
    def figures(self) -> dict[str, Any]:
        """The request as JSON: enough to generate the same pictures again."""
        settings = asdict(self.settings)
        settings = {name: value for name, value in settings.items() if value is not None}
        about = {
            "prior": self.handle.name,
            "tokenizer": self.handle.tokenizer_handle.name,
            **settings,
        }
        about["seeds"] = self.settings.seeds
        if self.prompt:
            about["prompt"] = self.prompt
        if self.label is not None:
            about["class"] = self.handle.labels[self.label]
        if self.note:
            about["note"] = self.note
        if self.known is not None:
            about["tokens_repainted"] = int((self.known < 0).sum())
        return about


@dataclass(frozen=True)
class GenerationResult:
    """A finished run."""

    pictures: tuple[Image.Image, ...]
    ids: np.ndarray
    """int64 (n, h, w)"""
    figures: dict[str, Any]
    layout: np.ndarray | None = None
    """The semantic maps of a two-stage prior, classes int64 (n, h, w), 255 = unlabeled."""


# ---------------------------------------------------------------- requests


def text_request(prompt: Any, prior: Any, *sampled: Any) -> GenerationRequest:
    """Return a request for pictures of a prompt. Raises UserError or CheckpointError.

    ``sampled``, here and below: n, seed, guidance, temperature, top_k, top_p, steps.
    """
    handle = priors.open_prior(prior, "text")
    settings = sampling.parse_settings(handle, *sampled)
    text, note = priors.clean_prompt(handle, prompt)
    return GenerationRequest(handle, settings, text, note)


def label_request(label: Any, prior: Any, *sampled: Any) -> GenerationRequest:
    """Return a request for pictures of a class, given by name or number (0 is the first).

    Raises UserError or CheckpointError.
    """
    handle = priors.open_prior(prior, "label")
    settings = sampling.parse_settings(handle, *sampled)
    return GenerationRequest(handle, settings, label=_label(handle, label))


def _label(handle: PriorHandle, label: Any) -> int:
    names = [name.lower() for name in handle.labels]
    text = " ".join(str("" if label is None else label).split()).lower()
    if text in names:
        return names.index(text)
    if isinstance(label, int | float | str) and not isinstance(label, bool):
        number = text.removesuffix(".0")
        if number.isdecimal() and int(number[:9]) < len(names):
            return int(number[:9])
    shown = ", ".join(handle.labels[:20]) + (", ..." if len(names) > 20 else "")
    if not text:
        raise UserError(f"Choose a class: {shown}.")
    raise UserError(
        f"The prior {handle.name} knows no class {text[:60]!r}; its classes are: {shown}."
    )


def map_request(
    plan: np.ndarray | str | None, prior: Any, *sampled: Any, prompt: Any = ""
) -> GenerationRequest:
    """Return a request for pictures of a semantic map: a file in class colors, or classes int64
    (H, W). Raises UserError, CheckpointError or PictureError."""
    handle = priors.open_prior(prior, "semantic")
    settings = sampling.parse_settings(handle, *sampled)
    if not isinstance(plan, np.ndarray):
        plan = semantic_maps.read_map(plan, semantic_maps.legend(handle), handle.size)
    text, note = _optional_prompt(handle, prompt)
    return GenerationRequest(handle, settings, text, note, plan=plan)


def inpaint_request(
    ids: np.ndarray, marked: np.ndarray, prior: Any, *sampled: Any, prompt: Any = ""
) -> GenerationRequest:
    """Return a request to generate the tokens of ``ids`` int64 (h, w) where ``marked`` bool (h, w)
    is true, and to keep the others. Raises UserError or CheckpointError."""
    handle = priors.open_prior(prior, "complete")
    settings = sampling.parse_settings(handle, *sampled)
    text, note = _optional_prompt(handle, prompt)
    known = np.where(semantic_maps.check_mask(marked), -1, ids)
    return GenerationRequest(handle, settings, text, note, known=known)


def _optional_prompt(handle: PriorHandle, prompt: Any) -> tuple[str, str]:
    if "text" not in handle.conditions:
        return "", ""
    return priors.clean_prompt(handle, prompt, required=False)


def encode_picture(image: Any, handle: PriorHandle) -> np.ndarray:
    """Return the middle of a user's picture as the prior's tokens int64 (h, w).

    Raises UserError or PictureError.
    """
    from regvq.images import to_tensor

    if handle.tokenizer_handle.channels != 3:
        raise UserError(
            f"{handle.name} draws pictures of {count_words(handle.tokenizer_handle.channels)}, and "
            "a picture to complete has 3: choose another prior."
        )
    picture = open_picture(image)
    fitted = crop_to_fit(picture.image, handle.size, Image.Resampling.LANCZOS)
    with LOCK:
        tokenizer = handle.tokenizer_handle.tokenizer
        return tokenizer.encode(to_tensor(fitted)[None])[0].cpu().numpy()


# ---------------------------------------------------------------- running


def shown_steps(request: GenerationRequest) -> Iterator[Step]:
    """Yield the steps that are worth showing: at most UPDATES, the step that completes a two-stage
    prior's map, and the last one."""
    import torch

    known = None if request.known is None else torch.from_numpy(request.known)
    shown = 0
    for step in sampling.sample(request.handle, request.condition, request.settings, known):
        due = step.done * UPDATES // max(1, step.total)
        map_done = step.sketching and int(step.layout.min()) >= 0
        if due > shown or map_done or step.done == step.total:
            shown = due
            yield step


def preview_images(request: GenerationRequest, step: Step) -> list[np.ndarray]:
    """Return an unfinished run as pictures uint8 (H, W, 3).

    They show the tiles of the codes side by side; before that, the map of a two-stage prior; of a
    latent prior, the current latents decoded.
    """
    if step.ids.is_floating_point():
        return [np.asarray(picture) for picture in decode_tokens(request.handle, step.ids)]
    tokenizer = request.handle.tokenizer_handle.tokenizer
    f, drawn = tokenizer.downsampling, step.ids.numpy()
    if not step.sketching:
        known = (drawn >= 0) & (drawn < tokenizer.codebook_size)
        ids = np.full(drawn.shape, -1)
        codes, ids[known] = np.unique(drawn[known], return_inverse=True)
        tiles = priors.code_tiles(request.handle, codes)
    else:
        colors = semantic_maps.legend(request.handle).table
        tiles = np.broadcast_to(colors[:, None, None], (len(colors), f, f, 3))
        ids = step.layout.numpy()
    blank = np.broadcast_to(np.array(EMPTY, np.uint8), (1, f, f, 3)).copy()
    blank[:, : max(1, f // 8), : max(1, f // 8)] = GRID
    table = np.concatenate([tiles, blank])
    known = (ids >= 0) & (ids < len(tiles))
    n, rows, columns = ids.shape
    shown = table[np.where(known, ids, len(tiles))]
    return list(shown.swapaxes(2, 3).reshape(n, rows * f, columns * f, 3))


def finish(request: GenerationRequest, step: Step, seconds: float) -> GenerationResult:
    """Return the pictures of a run's last step and their figures; with a map, its agreement."""
    ids = step.ids
    pictures = decode_tokens(request.handle, ids)
    figures = {**request.figures, "seconds": round(seconds, 2)}
    if request.plan is not None:
        figures["agreement"] = agreement(request.handle, request.plan, pictures)
    if ids.is_floating_point():
        ids = _nearest_codes(request.handle, ids)
    layout = None if step.layout is None else step.layout.numpy()
    return GenerationResult(tuple(pictures), ids.numpy(), figures, layout)


def decode_tokens(handle: PriorHandle, ids: Tensor) -> list[Image.Image]:
    """Return pictures of token ids (n, h, w), or of latents (n, D, h, w)."""
    from regvq.images import to_pictures

    with LOCK:
        tokenizer = handle.tokenizer_handle.tokenizer
        return to_pictures(tokenizer.visible(tokenizer.decode(ids.to(tokenizer.device))).cpu())


def _nearest_codes(handle: PriorHandle, latents: Tensor) -> Tensor:
    with LOCK:
        tokenizer = handle.tokenizer_handle.tokenizer
        return tokenizer.quantizer.assign(latents.to(tokenizer.device)).cpu()


# ---------------------------------------------------------------- streaming

Answer = tuple[list[tuple[PageFile, str]], list, dict[str, Any]]
"""Pictures with their captions, token ids and figures of a run."""


def stream_results(request: GenerationRequest) -> Iterator[Answer]:
    """Yield the unfinished pictures, then the result.

    The figures of unfinished pictures are the steps "done" and in "total"; ids that are not
    generated yet are -1. Closing the iterator ends the run.
    """
    started = time.monotonic()
    for step in shown_steps(request):
        if step.sketching or step.done < step.total:
            preview = [Image.fromarray(pixels) for pixels in preview_images(request, step)]
            ids = [] if step.ids.is_floating_point() else step.ids.tolist()
            yield _gallery(request, preview), ids, {"done": step.done, "total": step.total}
    result = finish(request, step, time.monotonic() - started)
    figures = dict(result.figures)
    if result.layout is not None:
        figures["layout"] = result.layout.tolist()
    yield _gallery(request, result.pictures), result.ids.tolist(), figures


def _gallery(
    request: GenerationRequest, pictures: Sequence[Image.Image]
) -> list[tuple[PageFile, str]]:
    return [
        (png_file(picture, f"picture-{i + 1}"), f"seed {seed}")
        for i, (picture, seed) in enumerate(zip(pictures, request.settings.seeds, strict=True))
    ]

"""The collapse lab as one call: tiny tokenizers trained on small pictures, with their figures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from . import lab_sessions
from .encoding import PageFile, png_file
from .lab_data import training_pictures
from .lab_sessions import CURVES, LabSession, curve
from .model_lock import LOCK
from .token_pictures import tile_sheet
from .validation import whole_number

MOST_STEPS = 400
"""Training steps of one call."""
BREATH = 0.02
"""Seconds between two pieces of the training, in which other requests get the lock."""
LARGER = 4
"""The returned pictures are enlarged by this factor."""

Gallery = list[tuple[PageFile, str]]
"""Pictures and their captions."""


def train_on_pictures(
    image: Any, quantizers: Any, codes: Any, seed: Any, steps: Any, *settings: Any
) -> Iterator[tuple[Gallery | None, Gallery | None, dict[str, Any]]]:
    """Yield the figures while the quantizers train on scenes or on ``image``.

    At the end there are the reconstructions and the codebooks, too, and in the figures the charts
    of CURVES by their names. Raises UserError or PictureError.

    ``settings`` are those of ``lab_sessions.parse_settings``.
    """
    from regvq.plots import figure_json

    source = "picture" if image else "scenes"
    spec = lab_sessions.parse_spec("pictures", None, source, image, codes, quantizers, seed)
    checked = lab_sessions.parse_settings(*settings)
    count = whole_number(steps, "number of steps", 0, MOST_STEPS)
    pictures = training_pictures(spec.kind, spec.data, image)
    with LOCK:
        session = LabSession(spec, checked, pictures)
        figures: dict[str, Any] = {
            "codes": spec.size, "seed": spec.seed, **vars(checked), "step": [],
            "runs": {name: {"used": [], "perplexity": [], "psnr": []} for name in spec.names},
        }  # fmt: skip
        frames = _add_figures(figures, session)
    while session.step < count:
        yield None, None, figures
        time.sleep(BREATH)
        with LOCK:
            session.advance(count)
            frames = _add_figures(figures, session)
    charts = {
        key: figure_json(
            curve(
                key,
                figures["step"],
                {name: run[key] for name, run in figures["runs"].items()},
                spec.size,
            )
        )
        for key in CURVES
    }
    yield _reconstructions(session, frames), _codebooks(frames), {**figures, "charts": charts}


def _add_figures(figures: dict[str, Any], session: LabSession) -> dict[str, Any]:
    """Append the current state of the runs to ``figures``; return the frames of all runs."""
    frames = {name: run.look() for name, run in session.runs.items()}
    figures["step"].append(session.step)
    for name, frame in frames.items():
        own = figures["runs"][name]
        own["used"].append(frame.usage.utilization)
        own["perplexity"].append(frame.usage.perplexity)
        own["psnr"].append(frame.psnr)
        own["counts"] = frame.counts.tolist()
    return frames


def _reconstructions(session: LabSession, frames: dict[str, Any]) -> Gallery:
    from regvq.analysis.lab.pictures import sheet_of

    watched = next(iter(session.runs.values())).pictures.watched
    shown = [(sheet_of(watched), "Originals")]
    for name, frame in frames.items():
        words = f"{name}: {frame.psnr:.2f} dB, {frame.usage.used} of {frame.usage.total} codes"
        shown.append((frame.sheet, words))
    return [(_enlarged(pixels, "pictures"), words) for pixels, words in shown]


def _codebooks(frames: dict[str, Any]) -> Gallery:
    """Return each run's codebook as tiles, dead codes black."""
    return [
        (
            _enlarged(tile_sheet(frame.paints * (frame.counts > 0)[:, None, None, None]), "codes"),
            name,
        )
        for name, frame in frames.items()
    ]


def _enlarged(picture: Image.Image | np.ndarray, name: str) -> PageFile:
    pixels = np.asarray(picture).repeat(LARGER, axis=0).repeat(LARGER, axis=1)
    return png_file(pixels, name)

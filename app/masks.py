"""The tab Mask ratio: the stochastic mask on a picture, and what it costs at every ratio."""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image

from app import models
from app.atlas import sprite_png
from app.charts import mask_chart
from app.errors import Refused, in_a_sentence
from app.figures import mask_figures
from app.models import MODEL_QUEUE, Model, Picture, one_at_a_time
from app.pictures import PictureInput, packed, page_file, png
from app.reconstruct import pick_example
from app.rewrite import MAX_SEED
from app.theme import asset

if TYPE_CHECKING:
    from core.analysis.masks import Draws, Point

TAB = "Mask ratio"
SIDE = 384
"""Longest side, in pixels, of the picture here: a slider that moves wants its answer at once."""
STEPS = 20
"""Steps of the ratio along the curve."""
BUDGET = 0.15
"""Seconds of the curve that are computed in one go; between two, other requests have their turn."""
HOTTEST = 2.0
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Ratios whose pictures /mask_sweep returns."""


def _posterior(checkpoint: Any) -> Model:
    """The checkpoint, if its quantizer has a distribution to draw from. Raises Refused."""
    which = models.model(checkpoint)
    if not which.tokenizer.quantizer.draws:
        raise Refused(no_posterior(which))
    return which


def no_posterior(which: Model) -> str:
    """Why this checkpoint has no mask, in a sentence."""
    return (
        f"{which.name} takes the best code everywhere: its quantizer has no token distribution, "
        "so there is nothing to draw from and no mask ratio to turn."
    )


def _drawing() -> str | None:
    """The first checkpoint that does draw, to be offered instead; found without loading any."""
    for name in models.names():
        quantizer = models.bundle(name).config.get("tokenizer", {}).get("quantizer", {})
        if "mask_ratio" in quantizer:
            return name
    return None


def _picture(image: Any) -> Picture:
    from app.examples import examples

    return models.smaller(models.open_picture(image or examples()[0].path), SIDE)


@lru_cache(maxsize=12)
def draws(which: Model, picture: Picture, temperature: float, seed: int) -> Draws:
    """The picture's token distribution and one draw from it everywhere."""
    from core.analysis.masks import draw_tokens

    latents = models.latents(which, picture)
    return draw_tokens(which.tokenizer.quantizer, latents, temperature, seed)


_points: OrderedDict[tuple, Point] = OrderedDict()
KEPT = 4096


@lru_cache(maxsize=48)
def _painted(
    which: Model, picture: Picture, ratio: float, temperature: float, seed: int
) -> tuple[Point, np.ndarray]:
    """A point of the curve and its picture uint8 (H, W, 3)."""
    from core.analysis.masks import mask_point
    from core.images import to_tensor

    found = draws(which, picture, temperature, seed)
    image = to_tensor(picture.image)
    point, pixels = mask_point(which.tokenizer, image, found, ratio, seed)
    _points[which, picture, ratio, temperature, seed] = point  # outlives the picture
    while len(_points) > KEPT:
        _points.popitem(last=False)
    return point, pixels


def _point(which: Model, picture: Picture, ratio: float, temperature: float, seed: int) -> Point:
    """A point of the curve."""
    known = _points.get((which, picture, ratio, temperature, seed))
    return known or _painted(which, picture, ratio, temperature, seed)[0]


def checked(ratio: Any, temperature: Any, seed: Any) -> tuple[float, float, int]:
    """The three settings as numbers. Raises Refused."""
    return (
        models.number(ratio, "mask ratio", 0, 1),
        models.number(temperature, "temperature", 0, HOTTEST),
        models.whole_number(seed, "seed", 0, MAX_SEED),
    )


@in_a_sentence
@one_at_a_time
def mask_sweep(image: Any, checkpoint: Any, seed: Any = 0, temperature: Any = 1.0) -> tuple:
    """/mask_sweep: pictures at some ratios, the curves as a picture, figures."""
    which, picture = _posterior(checkpoint), models.smaller(models.open_picture(image), SIDE)
    _, heat, number = checked(0, temperature, seed)
    points, gallery = [], []
    for step in range(STEPS + 1):
        point = _point(which, picture, step / STEPS, heat, number)
        points.append(point)
        if point.ratio in SHOWN:
            pixels = _painted(which, picture, point.ratio, heat, number)[1]
            data = png(Image.fromarray(pixels))
            file = page_file(data, f"ratio-{100 * point.ratio:.0f}")["path"]
            gallery.append((file, f"ratio {point.ratio:g}, {point.psnr:.2f} dB"))
    found = draws(which, picture, heat, number)
    figures = {
        "ratio": [point.ratio for point in points],
        "psnr": [_finite(point.psnr) for point in points],
        "drawn": [point.drawn for point in points],
        "changed": [point.changed for point in points],
        "entropy_bits": float(found.entropy.mean()),
        "tokens": int(found.best.size),
        "codebook_size": which.tokenizer.codebook_size,
        "width": picture.image.width,
        "height": picture.image.height,
        "temperature": heat,
        "seed": number,
        "checkpoint": which.name,
    }
    chart = page_file(png(mask_chart(figures)), "curve")["path"]
    return gallery, chart, figures


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None  # JSON knows no infinity


@lru_cache(maxsize=12)
def _original(picture: Picture) -> bytes:
    return png(picture.image)


def _stage(which: Model, picture: Picture, ratio: float, heat: float, seed: int) -> tuple:
    """What the page draws of one ratio, and its figures."""
    from core.analysis.masks import apply_mask
    from core.analysis.pictures import ramp

    found = draws(which, picture, heat, seed)
    masked = apply_mask(found, ratio, seed)
    point, pixels = _painted(which, picture, ratio, heat, seed)
    best = _point(which, picture, 0.0, heat, seed)
    size = which.tokenizer.codebook_size
    stage = {
        "original": page_file(_original(picture), "original"),
        "reconstruction": page_file(png(Image.fromarray(pixels)), "masked"),
        "width": picture.image.width,
        "height": picture.image.height,
        "patch": which.tokenizer.downsampling,
        "rows": found.best.shape[0],
        "columns": found.best.shape[1],
        "state": packed(masked.mask.astype(np.uint8) + masked.changed, "u1"),
        "best": packed(found.best, "<u4"),
        "drawn": packed(found.drawn, "<u4"),
        "bestP": packed(found.best_p, "<f4"),
        "drawnP": packed(found.drawn_p, "<f4"),
        "entropy": packed(found.entropy, "<f4"),
        "top": float(np.log2(size)),
        "codes": size,
        "sprite": page_file(sprite_png(which), "codes"),
        "ramp": ramp(np.linspace(0, 1, 64)).tolist(),
    }
    figures = {
        "psnr": _finite(point.psnr),
        "lost": _finite(best.psnr - point.psnr),
        "ratio": ratio,
        "drawn": int(masked.mask.sum()),
        "changed": int(masked.changed.sum()),
        "tokens": int(found.best.size),
        "entropy": float(found.entropy.mean()),
        "codebook_size": size,
    }
    return stage, figures


def _curve(
    which: Model, picture: Picture, ratio: float, heat: float, seed: int, budget: float
) -> dict[str, Any]:
    """The curves as far as they are known, after ``budget`` seconds of computing more of them."""
    from core.analysis.masks import coarse_to_fine

    end, points, left, made = time.monotonic() + budget, [], 0, 0
    for place in coarse_to_fine(STEPS):
        key = (which, picture, place, heat, seed)
        if key not in _points:
            if budget == 0 or (made and time.monotonic() > end):
                left += 1
                continue
            made += 1
        points.append(_point(*key))
    points.sort()
    return {
        "points": [
            {"ratio": point.ratio, "psnr": _finite(point.psnr), "changed": point.changed}
            for point in points
        ],
        "left": left,
        "ratio": ratio,
        "stamp": time.monotonic_ns(),  # a value that equals the last one would not wake the page
    }


@in_a_sentence
@one_at_a_time
def show(
    image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any, here: Any = TAB
) -> tuple:
    """For the page: what the stage draws, the panel of figures, the curves as far as known."""
    from core.images import PictureError

    if here != TAB:  # opening the tab will ask again
        return gr.skip(), gr.skip(), gr.skip()
    which = models.model(checkpoint)
    if not which.tokenizer.quantizer.draws:
        refusal = {"sentence": no_posterior(which), "offer": _drawing()}
        return refusal, "", {}
    try:
        picture = _picture(image)
    except PictureError as error:
        return {"sentence": str(error)}, "", {}
    settings = checked(ratio, temperature, seed)
    stage, figures = _stage(which, picture, *settings)
    return stage, mask_figures(figures), _curve(which, picture, *settings, budget=0)


@in_a_sentence
@one_at_a_time
def more(image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any) -> dict[str, Any]:
    """Some more of the curves; the page asks until they are whole."""
    settings = checked(ratio, temperature, seed)
    return _curve(_posterior(checkpoint), _picture(image), *settings, budget=BUDGET)


@in_a_sentence
def choose_ratio(event: gr.EventData) -> float:
    """A point of the curve was clicked."""
    return models.number(getattr(event, "ratio", None), "mask ratio", 0, 1)


@in_a_sentence
def choose_code(checkpoint: Any, event: gr.EventData) -> int:
    """A token was clicked: its code is picked in the other tabs as well."""
    size = models.model(checkpoint).tokenizer.codebook_size
    return models.whole_number(getattr(event, "index", None), "code", 0, size - 1)


def choose_offer() -> Any:
    """The checkpoint that was offered instead of one that draws nothing."""
    return gr.update(value=_drawing())


def fill_examples() -> list[dict[str, str]]:
    """The strip of pictures, when the tab is opened."""
    from app.examples import thumbnails

    return list(thumbnails())


def build(
    tab: gr.Tab,
    checkpoint: gr.Dropdown,
    default: str,
    picture: gr.Image,
    code: gr.State,
    here: gr.State,
) -> None:
    """Draw the tab and wire it. Checkpoint, picture and picked code are shared by all tabs."""
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            ratio = gr.Slider(
                0,
                1,
                value=0.4,
                step=0.01,
                label="Mask ratio",
                elem_id="mask-share",
                elem_classes="rv-slider",
                info="Share of tokens drawn at random. Reg-VQ trains at 0.4.",
                buttons=["reset"],
            )
            temperature = gr.Slider(
                0,
                HOTTEST,
                value=1,
                step=0.05,
                label="Temperature",
                elem_id="mask-temperature",
                elem_classes="rv-slider",
                info="1 draws as in training; towards 0 only the best code is left.",
                buttons=["reset"],
            )
            seed = gr.Number(0, label="Seed of the draw", precision=0, elem_id="mask-seed")
            examples = gr.HTML(
                value=[],
                html_template=asset("examples.html"),
                js_on_load=asset("examples.js"),
                elem_id="mask-examples",
                apply_default_css=False,
            )
            gr.HTML(
                f'<p class="rv-note">Your own picture: upload it under Reconstruct. Here it is '
                f"looked at with at most {SIDE} pixels a side, so that the sliders answer at once."
                "</p>",
                apply_default_css=False,
            )
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = gr.HTML(
                value={},
                html_template=asset("masks.html"),
                js_on_load=asset("masks.js"),
                elem_id="mask-stage",
                apply_default_css=False,
            )
        with gr.Column(scale=0, min_width=290, elem_classes="rv-figures"):
            figures = gr.HTML(mask_figures(None), elem_id="mask-figures", apply_default_css=False)
            curve = gr.HTML(
                value={},
                html_template=asset("curve.html"),
                js_on_load=asset("curve.js"),
                elem_id="mask-curve",
                apply_default_css=False,
            )

    settings = [picture, checkpoint, ratio, temperature, seed]
    own = {"api_visibility": "private", "trigger_mode": "always_last", **MODEL_QUEUE}
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    changes = [part.change for part in settings]
    gr.on(changes, show, [*settings, here], [stage, figures, curve], **own)
    tab.select(show, settings, [stage, figures, curve], **own)
    tab.select(fill_examples, None, examples, queue=False, **quiet)
    curve.more(more, settings, curve, show_progress="hidden", **own)
    curve.pick(choose_ratio, None, ratio, queue=False, **quiet)
    stage.pick(choose_code, checkpoint, code, queue=False, **quiet)
    stage.offer(choose_offer, None, checkpoint, queue=False, **quiet)
    examples.pick(pick_example, None, picture, **quiet)

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            mask_sweep,
            [
                PictureInput(type="filepath", label="image"),
                gr.Textbox(default, label="checkpoint"),
                gr.Number(0, label="seed"),
                gr.Number(1, label="temperature"),
            ],
            [gr.Gallery(label="pictures"), gr.Image(label="curves"), gr.JSON(label="figures")],
            api_name="mask_sweep",
            **MODEL_QUEUE,
        )

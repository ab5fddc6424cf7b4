"""The tab Reconstruct: a picture, its tokens, and what the tokenizer makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr
from PIL import Image

from app import models
from app.atlas import atlas
from app.errors import in_a_sentence
from app.figures import reconstruction_figures, size
from app.models import MODEL_QUEUE, Model, Picture, one_at_a_time
from app.pictures import ERROR_TOP, PictureInput, over_picture, page_file, png
from app.theme import asset

TAB = "Reconstruct"
COLOURS = ("mean", "patch", "number")
"""How a token is painted: its code's mean colour, what its code paints, or its code's number."""
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Reconstruction:
    """A picture rewritten with codes. The pictures are PNG files of one size."""

    original: bytes
    reconstruction: bytes
    error: bytes
    jpeg: bytes
    """The picture as JPEG gets it at no more bytes than the tokens take, if it can be so small."""
    figures: dict[str, Any]


@lru_cache(maxsize=12)
def reconstruction(which: Model, picture: Picture, mask_ratio: float, seed: int) -> Reconstruction:
    """The picture through tokens and back, and how much of it survived."""
    import torch

    from core.analysis.pictures import colour_error, error_map
    from core.images import to_pictures, to_tensor
    from core.metrics.codecs import smallest, token_bytes, within
    from core.metrics.pictures import psnr, ssim

    tokenizer = which.tokenizer
    coded = models.tokens(which, picture, mask_ratio, seed)
    width, height = picture.image.size
    original = to_tensor(picture.image)
    painted = tokenizer.decode(torch.from_numpy(coded.ids)[None])[..., :height, :width]
    shown = to_pictures(painted.cpu())[0]
    # The figures are those of the picture that is shown: 8 bits a channel.
    result = to_tensor(shown)
    original_png = png(picture.image, effort=6)  # its size is one of the figures
    count = coded.ids.size
    budget = token_bytes(count, tokenizer.codebook_size)
    jpeg, jpeg_small = within(picture.image, "jpeg", budget), smallest(picture.image, "jpeg")
    figures = {
        "psnr": float(psnr(original[None], result[None])[0]),
        "ssim": float(ssim(original[None], result[None])[0]) if min(width, height) >= 11 else None,
        "width": width,
        "height": height,
        "uploaded_width": picture.uploaded[0],
        "uploaded_height": picture.uploaded[1],
        "tokens": count,
        "tokens_wide": coded.ids.shape[1],
        "tokens_high": coded.ids.shape[0],
        "tokens_drawn": 0 if coded.drawn is None else int(coded.drawn.sum()),
        "codes_used": len(set(coded.ids.flat)),
        "codebook_size": tokenizer.codebook_size,
        "downsampling": tokenizer.downsampling,
        "bits_per_token": math.log2(tokenizer.codebook_size),
        "bytes_tokens": budget,
        "bytes_png": len(original_png),
        "bytes_jpeg": _jpeg_bytes(picture.image, 75),
        "bytes_jpeg_smallest": jpeg_small.bytes,
        "bytes_jpeg_equal": jpeg.bytes,
        "psnr_jpeg_equal": float(psnr(original[None], to_tensor(jpeg.picture)[None])[0]),
        "mask_ratio": mask_ratio,
        "seed": seed,
        "checkpoint": which.name,
    }
    # Identical pictures have no finite PSNR, and JSON knows no infinity.
    figures = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
    error = Image.fromarray(colour_error(error_map(original, result), top=ERROR_TOP))
    return Reconstruction(original_png, png(shown), png(error), png(jpeg.picture), figures)


def _jpeg_bytes(picture: Image.Image, quality: int) -> int:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return buffer.tell()


@lru_cache(maxsize=12)
def token_pngs(which: Model, picture: Picture, mask_ratio: float, seed: int) -> dict[str, bytes]:
    """The token grid at the picture's size, without smoothing, in each of COLOURS."""
    from core.analysis.pictures import number_colours, token_picture

    ids = models.tokens(which, picture, mask_ratio, seed).ids
    known, f, extent = atlas(which), which.tokenizer.downsampling, picture.image.size
    flat = {"mean": known["mean_color"], "number": number_colours(which.tokenizer.codebook_size)}
    painted = {
        name: over_picture(token_picture(ids, table), f, extent) for name, table in flat.items()
    }
    painted["patch"] = token_picture(ids, known["paints"])[: extent[1], : extent[0]]
    return {name: png(Image.fromarray(painted[name])) for name in COLOURS}


@one_at_a_time
def run(
    image: Any, checkpoint: Any, mask_ratio: Any = 0.0, seed: Any = 0
) -> tuple[Reconstruction, dict[str, bytes]]:
    """Check what a visitor asked for and do it: the reconstruction, and the token grids as PNG."""
    which = models.model(checkpoint)
    picture = models.open_picture(image)
    ratio = models.number(mask_ratio, "mask ratio", 0, 1)
    number = models.whole_number(seed, "seed", 0, MAX_SEED)
    found = reconstruction(which, picture, ratio, number)
    return found, token_pngs(which, picture, ratio, number)


@in_a_sentence
def reconstruct(image: Any, checkpoint: Any, mask_ratio: Any = 0, seed: Any = 0) -> tuple:
    """/reconstruct: (original, reconstruction), token picture, error map, figures."""
    found, tokens = run(image, checkpoint, mask_ratio, seed)
    files = [
        page_file(data, name)["path"]
        for data, name in (
            (found.original, "original"),
            (found.reconstruction, "reconstruction"),
            (tokens["mean"], "tokens"),
            (found.error, "error"),
        )
    ]
    return (files[0], files[1]), files[2], files[3], found.figures


@in_a_sentence
def show(image: Any, checkpoint: Any, mask_ratio: Any, seed: Any, here: Any = TAB) -> tuple:
    """The same for the page: what the stage draws, and the panel of figures."""
    from core.images import PictureError

    if here != TAB:  # opening the tab will ask again
        return gr.skip(), gr.skip()
    if not image:
        return {"empty": True}, reconstruction_figures(None)
    try:
        found, tokens = run(image, checkpoint, mask_ratio, seed)
    except PictureError as error:
        gr.Warning(str(error), title="This picture cannot be used")
        return {"problem": str(error)}, reconstruction_figures(None)
    figures = found.figures
    stage = {
        "original": page_file(found.original, "original"),
        "reconstruction": page_file(found.reconstruction, "reconstruction"),
        "tokens": {name: page_file(data, f"tokens-{name}") for name, data in tokens.items()},
        "error": page_file(found.error, "error"),
        "jpeg": page_file(found.jpeg, "jpeg"),
        "jpegBytes": size(figures["bytes_jpeg_equal"]),
        "width": figures["width"],
        "height": figures["height"],
        "grid": f"{figures['tokens_wide']} × {figures['tokens_high']}",
        "errorTop": ERROR_TOP,
        "ramp": ramp_css(),
    }
    return stage, reconstruction_figures(figures)


@lru_cache(maxsize=1)
def ramp_css() -> str:
    """The colour scale of the error map as a CSS gradient."""
    import numpy as np

    from core.analysis.pictures import ramp

    stops = ",".join("#" + bytes(colour).hex() for colour in ramp(np.linspace(0, 1, 16)))
    return f"linear-gradient(90deg,{stops})"


@dataclass(frozen=True)
class Tab:
    """What other tabs and the shell use of this one."""

    picture: gr.Image
    examples: gr.HTML


def build(tab: gr.Tab, checkpoint: gr.Dropdown, default: str, here: gr.State) -> Tab:
    """Draw the tab and wire it. ``checkpoint`` is shared by all tabs."""
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            picture = PictureInput(
                type="filepath",
                label="Your picture",
                sources=["upload", "clipboard"],
                height=210,
                elem_id="picture",
                buttons=[],
            )
            examples = gr.HTML(
                value=[],
                html_template=asset("examples.html"),
                js_on_load=asset("examples.js"),
                elem_id="examples",
                apply_default_css=False,
            )
            mask_ratio = gr.Slider(
                0,
                1,
                value=0,
                step=0.05,
                label="Mask ratio",
                elem_id="mask-ratio",
                info="Share of tokens drawn at random, by their probability, instead of the best.",
                buttons=["reset"],
            )
            seed = gr.Number(0, label="Seed of the draw", precision=0, elem_id="seed")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = gr.HTML(
                value={"empty": False},
                html_template=asset("stage.html"),
                js_on_load=asset("stage.js"),
                elem_id="stage",
                apply_default_css=False,
            )
        with gr.Column(scale=0, min_width=290, elem_classes="rv-figures"):
            figures = gr.HTML(
                reconstruction_figures(None), elem_id="figures", apply_default_css=False
            )

    settings = [picture, checkpoint, mask_ratio, seed]
    own = {"api_visibility": "private", "trigger_mode": "always_last", **MODEL_QUEUE}
    gr.on([part.change for part in settings], show, [*settings, here], [stage, figures], **own)
    tab.select(show, settings, [stage, figures], **own)
    examples.pick(pick_example, None, picture, api_visibility="private", show_progress="hidden")

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            reconstruct,
            [
                PictureInput(type="filepath", label="image"),
                gr.Textbox(default, label="checkpoint"),
                gr.Number(0, label="mask_ratio"),
                gr.Number(0, label="seed"),
            ],
            [
                gr.ImageSlider(label="original, reconstruction"),
                gr.Image(label="token picture"),
                gr.Image(label="error map"),
                gr.JSON(label="figures"),
            ],
            api_name="reconstruct",
            **MODEL_QUEUE,
        )
    return Tab(picture, examples)


def pick_example(event: gr.EventData) -> str:
    """The file of the example that was clicked."""
    from app.examples import examples

    known = examples()
    index = getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise gr.Error("There is no such example.")
    return known[index].path

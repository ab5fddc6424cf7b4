"""The tab Generate as API endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..services import generation, priors, semantic_maps
from ..services.generation import GenerationRequest
from ..ui.component import api_row
from ..ui.errors import report_user_errors
from ..ui.pictures import gallery_paths
from .shared_inputs import picture_parameter

Answer = tuple[list[tuple[str, str]], list, dict[str, Any]]
"""Gallery, token ids and figures of a run."""


def _stream(request: GenerationRequest) -> Iterator[Answer]:
    for gallery, ids, figures in generation.stream_results(request):
        yield gallery_paths(gallery), ids, figures


@report_user_errors
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
    """/generate_text: gallery, ids, figures; of a two-stage prior also its maps, "layout".

    It streams unfinished pictures, see ``generation.stream_results``, and so do the others.
    """
    sampled = (n, seed, guidance, temperature, top_k, top_p, steps)
    yield from _stream(generation.text_request(prompt, prior, *sampled))


@report_user_errors
def generate_class(
    name: Any,
    prior: Any = None,
    n: Any = 1,
    seed: Any = 0,
    guidance: Any = None,
    temperature: Any = None,
    top_k: Any = None,
    top_p: Any = None,
    steps: Any = None,
) -> Iterator[Answer]:
    """/generate_class: gallery, ids, figures, for a class by name or number."""
    sampled = (n, seed, guidance, temperature, top_k, top_p, steps)
    yield from _stream(generation.label_request(name, prior, *sampled))


@report_user_errors
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
    sampled = (n, seed, guidance, temperature, top_k, top_p, steps)
    yield from _stream(generation.map_request(plan, prior, *sampled, prompt=prompt))


@report_user_errors
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
    handle = priors.open_prior(prior, "complete")
    ids = generation.encode_picture(image, handle)
    marked = semantic_maps.read_mask(mask, ids.shape, handle.size)
    sampled = (n, seed, guidance, temperature, top_k, top_p, steps)
    yield from _stream(
        generation.inpaint_request(ids, marked, handle.name, *sampled, prompt=prompt)
    )


def build() -> None:
    """Add the endpoints."""

    def prior() -> gr.Textbox:
        return gr.Textbox("", label="prior")

    def number(name: str, value: int | None = None) -> gr.Number:
        return gr.Number(value, label=name)

    def sampling() -> list[Any]:
        return [number(name) for name in ("guidance", "temperature", "top_k", "top_p", "steps")]

    def outputs() -> list[Any]:
        return [gr.Gallery(label="pictures"), gr.JSON(label="ids"), gr.JSON(label="figures")]

    with api_row() as endpoint:
        endpoint(
            "generate_text",
            generate_text,
            [gr.Textbox(label="prompt"), prior(), number("n", 1), number("seed", 0), *sampling()],
            outputs(),
        )
        endpoint(
            "generate_class",
            generate_class,
            [gr.Textbox(label="class"), prior(), number("n", 1), number("seed", 0), *sampling()],
            outputs(),
        )
        endpoint(
            "generate_semantic",
            generate_semantic,
            [
                picture_parameter("map"),
                prior(),
                number("n", 1),
                number("seed", 0),
                *sampling(),
                gr.Textbox("", label="prompt"),
            ],
            outputs(),
        )
        endpoint(
            "complete",
            complete,
            [
                picture_parameter("image"),
                picture_parameter("mask"),
                prior(),
                number("seed", 0),
                number("n", 1),
                *sampling(),
                gr.Textbox("", label="prompt"),
            ],
            outputs(),
        )

"""The tab Collapse lab: quantizers trained on points of a plane while one watches.

The page asks for a few steps at a time and draws them, so that a pause is a page that does not ask,
and no visitor's lab keeps another's waiting for longer than a few steps take.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import models
from app.errors import Refused, in_a_sentence
from app.pictures import packed
from app.rewrite import MAX_SEED
from app.theme import asset

if TYPE_CHECKING:
    from core.analysis.collapse import Run

TAB = "Collapse lab"
NAMES = (
    "VQ", "EMA", "Gumbel", "Reg-VQ", "Reg-VQ without prior", "Reg-VQ without mask", "SimVQ", "NSVQ",
)  # fmt: skip
"""Those of ``core.analysis.collapse.contestants``, which would import torch."""
FIRST = ("VQ", "Reg-VQ", "SimVQ", "NSVQ")
POINTS = ("moons", "clusters", "spiral")
MOST = 4
"""Runs side by side."""
SIZES = (8, 256)
STEPS, EVERY = 1500, 15
BUDGET = 0.12
"""Seconds of training in one go."""
LAB_QUEUE: dict[str, Any] = {"concurrency_id": "lab", "concurrency_limit": 1}


Settings = tuple[str, int, tuple[str, ...], int]
"""Points, codes, quantizers, seed."""


class Lab:
    """One visitor's runs."""

    def __init__(self, data: str, size: int, names: tuple[str, ...], seed: int) -> None:
        from core.analysis.collapse import LabConfig, Run, contestants

        self.settings = (data, size, names, seed)
        known = contestants(size)
        self.runs: dict[str, Run] = {
            name: Run(LabConfig(known[name], data=data, seed=seed)) for name in names
        }
        self.born = time.monotonic_ns()

    def weigh(self, prior: float, mask: float, dense: float) -> None:
        """Weights from now on, for the runs whose parts they belong to."""
        for name, run in self.runs.items():
            if name.startswith("Reg-VQ"):
                run.change(
                    prior_weight=0.0 if name.endswith("prior") else prior,
                    mask_ratio=0.0 if name.endswith("mask") else mask,
                )
            if name == "NSVQ":
                run.change(alpha=dense)

    def advance(self) -> None:
        """Some steps of every run, as many of each."""
        end = time.monotonic() + BUDGET
        for _ in range(EVERY):
            for run in self.runs.values():
                if run.step < STEPS:
                    run.train(STEPS)
            if time.monotonic() > end:
                return

    def value(self) -> dict[str, Any]:
        """What the page draws."""
        shown = []
        for name, run in self.runs.items():
            frame = run.look()
            shown.append(
                {
                    "name": name,
                    "latents": packed(frame.latents, "<f4"),
                    "codes": packed(frame.codes, "<f4"),
                    "ids": packed(frame.ids, "<u2"),
                    "used": frame.used,
                    "perplexity": frame.perplexity,
                    "loss": frame.loss,
                }
            )
        step = next(iter(self.runs.values())).step
        return {
            "lab": self.born,
            "step": step,
            "steps": STEPS,
            "size": self.settings[1],
            "runs": shown,
            "stamp": time.monotonic_ns(),
        }


def chosen(
    data: Any, size: Any, names: Any, seed: Any, prior: Any, mask: Any, dense: Any
) -> tuple[Settings, tuple[float, float, float]]:
    """What a lab is made of, and the weights that it goes on with, checked. Raises Refused."""
    if data not in POINTS:
        raise Refused(f"The points must be one of {', '.join(POINTS)}, not {str(data)[:40]!r}.")
    if not isinstance(names, (list, tuple)) or not set(names) <= set(NAMES):
        raise Refused("There is no such quantizer in the lab.")
    if not 1 <= len(names) <= MOST:
        raise Refused(f"The lab sets 1 to {MOST} quantizers side by side; choose so many.")
    settings = (
        data,
        models.whole_number(size, "number of codes", *SIZES),
        tuple(name for name in NAMES if name in names),
        models.whole_number(seed, "seed", 0, MAX_SEED - 2),
    )
    weights = (
        models.number(prior, "prior's weight", 0, 1),
        models.number(mask, "mask ratio", 0, 1),
        models.number(dense, "weight of the dense loss", 0, 1),
    )
    return settings, weights


@in_a_sentence
def again(lab: Lab | None, *inputs: Any) -> tuple[Lab, dict[str, Any]]:
    """A new lab; ``inputs`` are those of ``chosen``."""
    settings, weights = chosen(*inputs)
    lab = Lab(*settings)
    lab.weigh(*weights)
    return lab, lab.value()


@in_a_sentence
def tick(lab: Lab | None, *inputs: Any) -> tuple[Lab, dict[str, Any]]:
    """Some more steps; or a new lab, if what it was made of has changed."""
    settings, weights = chosen(*inputs)
    if lab is None or lab.settings != settings:
        return again(lab, *inputs)
    lab.weigh(*weights)
    lab.advance()
    return lab, lab.value()


def build() -> None:
    """Draw the tab and wire it. It needs neither checkpoint nor picture."""
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            names = gr.CheckboxGroup(
                list(NAMES),
                value=list(FIRST),
                label=f"Quantizers, up to {MOST}",
                elem_id="lab-names",
            )
            data = gr.Radio(
                list(POINTS), value=POINTS[0], label="Points", elem_id="lab-data",
            )  # fmt: skip
            size = gr.Slider(*SIZES, value=64, step=8, label="Codes", elem_classes="rv-slider")
            seed = gr.Number(0, label="Seed", precision=0)
            prior = gr.Slider(
                0, 1, value=0.1, step=0.01, label="Reg-VQ: weight of the prior",
                elem_classes="rv-slider", elem_id="lab-prior",
            )  # fmt: skip
            mask = gr.Slider(
                0, 1, value=0.4, step=0.05, label="Reg-VQ: mask ratio", elem_classes="rv-slider"
            )
            dense = gr.Slider(
                0, 1, value=0.1, step=0.01, label="NSVQ: weight of the dense loss",
                elem_classes="rv-slider",
            )  # fmt: skip
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = gr.HTML(
                value={},
                html_template=asset("lab.html"),
                js_on_load=asset("lab.js"),
                elem_id="lab",
                apply_default_css=False,
            )
    lab = gr.State(None, time_to_live=900)
    settings = [lab, data, size, names, seed, prior, mask, dense]
    own = {"api_visibility": "private", "trigger_mode": "always_last", "show_progress": "hidden"}
    stage.tick(tick, settings, [lab, stage], **own, **LAB_QUEUE)
    stage.again(again, settings, [lab, stage], **own, **LAB_QUEUE)

"""The model card of a prior: what it draws, how it was made, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..priors import PriorConfig, describe_prior
from .common import (
    batch_words,
    launcher,
    license_of,
    origin_words,
    render,
    settings,
    table,
)

TAGS = ("image-generation", "vector-quantization", "token-prior")

_KINDS = {
    "autoregressive": "an autoregressive transformer over tokens, in raster order",
    "diffusion": "discrete diffusion over tokens (VQ-Diffusion, arXiv:2111.14822)",
    "masked": "parallel decoding of masked tokens (MaskGIT, arXiv:2202.04200)",
    "latent": "diffusion over the tokenizer's continuous latents (DDPM, arXiv:2006.11239; sampled "
    "by DDIM, arXiv:2010.02502)",
}
_LEVELS = {
    "autoregressive": "the levels of a position are drawn in turn, then the next position "
    "(RQ-Transformer, arXiv:2203.01941)",
    "masked": "the levels are drawn in turn over the whole picture (SoundStorm, arXiv:2305.09636)",
}
_CONDITIONS = {"text": "a text", "semantic": "a semantic map", "label": "a class label"}
_DRAWN = {"layout": "maps", "tokens": "tokens"}
_SIZES = ("width", "layers", "heads")
_FIGURES = (
    ("bits_per_token", "Bits per token on held-out pictures", "{:.3f}"),
    ("bits_with_map", "Bits per token on held-out pictures, including their maps", "{:.3f}"),
    ("denoising", "Mean squared error of the predicted noise on held-out pictures", "{:.4f}"),
    ("class_accuracy", "Pictures taken for their class", "{:.1%}"),
    ("named_right", "Attributes of captions that the classifier recognizes", "{:.1%}"),
    ("mean_iou", "Mean IoU of the segmenter's map with the given map", "{:.3f}"),
    ("pixel_accuracy", "Pixels whose class the segmenter reads as given", "{:.1%}"),
    ("clip_score", "CLIP score of pictures and captions", "{:.2f}"),
    ("r_precision", "R-precision: pictures whose own caption fits best", "{:.1%}"),
    ("frechet_distance", "Fréchet distance to held-out pictures", "{:.3f}"),
    ("fid", "FID to held-out pictures", "{:.2f}"),
    ("inception_fd", "Fréchet distance `inception_fd` to held-out pictures", "{:.2f}"),
    ("seconds_per_picture", "Seconds per picture, in batches, where measured", "{:.2f}"),
)
_NOT_HELD_OUT = "NOT held-out (also trained on)"
_DEFAULTS = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "steps": None}


def prior_card(
    name: str,
    config: PriorConfig,
    tokenizer: str,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> str:
    """Return the card of a prior's bundle.

    ``tokenizer``: the name of the tokenizer whose tokens it draws.
    """
    described, data = describe_prior(config), license_of(recipe)
    names = [each["name"] for each in described["conditions"]]
    planned, views, steps = described.get("layout"), recipe.get("tokens"), recipe.get("steps")
    levels, grid = described.get("levels", 1), "x".join(map(str, described["grid"]))
    tokens = f"{grid} tokens" if levels == 1 else f"{levels} tokens at each of {grid} positions"
    summary = (
        f"A prior of RegVQ Studio: it draws pictures{_conditioned(names, bool(planned))}, as "
        f"{tokens} of the tokenizer `{tokenizer}`."
    )
    grids = f" {views['views']:,} token grids of {views['pictures']:,} pictures." if views else ""
    facts = {
        "Kind": f"{_KINDS[described['name']]}; {_sizes(described)}",
        "Levels": _LEVELS[described["name"]] if levels > 1 else None,
        "Conditions": ", ".join(_CONDITIONS[each] for each in names) or "none",
        "Two-stage": planned
        and f"without a given map it first draws one, cell by cell in raster order; "
        f"{_sizes(planned)} (the order is Make-A-Scene's, arXiv:2203.13131; the rest is INFERRED)",
        "Training data": f"{data.description}{grids}",
        "Recipe": f"`{_command(recipe)}`",
        "Initialized from": _initialization(recipe),
        "Trained for": f"{metrics.get('step', steps)} of {steps} steps of "
        f"{batch_words(recipe, 'pictures')}, seed {recipe.get('seed')}",
        "Made with": origin_words(recipe),
        "Sampling": settings(recipe.get("sampling", {})),
        "License and terms": data.terms,
    }
    held_out = recipe.get("data", {}).get("held_out", True)
    held_out = held_out and metrics.get("data", {}).get("split") != "train"
    example, figures = _example(name, described, recipe), _figures(metrics, held_out)
    task = "text-to-image" if "text" in names else None
    return render(
        name, summary, facts, example, figures, license=data.license, tags=TAGS, task=task
    )


def _sizes(described: Mapping[str, Any]) -> str:
    sizes = [f"{key} {described[key]}" for key in _SIZES if key in described]
    if (patch := described.get("patch", 1)) > 1:
        sizes.append(f"{patch}x{patch} tokens share a position")
    return ", ".join(sizes)


def _conditioned(names: list[str], planned: bool) -> str:
    given = [_CONDITIONS[name] for name in names if not (planned and name == "semantic")]
    said = f" conditioned on {' and '.join(given)}" if given else ""
    return f"{said}, with or without {_CONDITIONS['semantic']}" if planned else said


def _command(recipe: Mapping[str, Any]) -> str:
    parts = (
        f"{launcher(recipe)} train/run.py {recipe.get('name')}",
        "--tokens DIR" if recipe.get("tokens") else "",
        "--init DIR" if recipe.get("init") else "",
        f"--steps {recipe.get('steps')}",
        recipe.get("flags"),
    )
    return " ".join(filter(None, parts))


def _initialization(recipe: Mapping[str, Any]) -> str | None:
    if not recipe.get("init"):
        projected = "token embeddings and output weights projected from the tokenizer's codes"
        return projected if recipe.get("embeddings") == "codes" else None
    other, only = recipe.get("init_tokenizer"), recipe.get("train_only", "all")
    moved = f", which drew tokens of the tokenizer `{other}`" if other else ""
    trained = "" if only == "all" else f"; only the part that draws {_DRAWN[only]} was trained"
    return f"the weights of the prior `{recipe['init']}`{moved}{trained}"


def _example(name: str, described: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    drawn = recipe.get("data", {}).get("name") == "scenes"
    rows, columns = described["grid"]
    inputs = {
        "text": f'texts=("{"a lake below mountains" if drawn else "a description"}",)',
        "semantic": "segmentation=segmentation",
        "label": "labels=labels",
    }
    made = {
        "semantic": f"segmentation = torch.zeros(1, {rows}, {columns}, dtype=torch.int64)"
        "  # a class per token",
        "label": "labels = torch.zeros(1, dtype=torch.int64)  # a class",
    }
    names = [each["name"] for each in described["conditions"]]
    if described.get("layout"):
        names.remove("semantic")  # it draws the map itself
    setup = [made[each] for each in names if each in made]
    sampling = recipe.get("sampling", {}).items()
    how = [f"{key}={value}" for key, value in sampling if value != _DEFAULTS.get(key)]
    return [
        *(["import torch", ""] if setup else []),
        "from regvq.checkpoints import load_prior, load_tokenizer, prior_tokenizer",
        *(["from regvq.conditions import Condition"] if names else []),
        "",
        f'prior = load_prior("checkpoints/{name}")',
        f'tokenizer = load_tokenizer(prior_tokenizer("checkpoints/{name}"))',
        *setup,
        *([f"condition = Condition({', '.join(inputs[each] for each in names)})"] * bool(names)),
        f"ids = prior.generate({', '.join(['condition'] * bool(names) + ['n=4', *how])})",
        f"images = tokenizer.decode(ids)  # (4, {recipe.get('channels', 3)}, H, W) in [-1, 1]",
    ]


def _figures(metrics: Mapping[str, Any], held_out: bool) -> list[str]:
    lines = ["Not evaluated yet: run `python train/evaluate.py`."]
    if "pictures" in metrics:
        given = [_CONDITIONS[name] for name in metrics.get("told", ())]
        whose = "held-out" if held_out else _NOT_HELD_OUT
        lines = [
            f"{metrics['pictures']} pictures drawn for {whose} conditions of "
            f"`{metrics.get('data', {}).get('name')}` ("
            f"{'conditioned on ' + ' and '.join(given) if given else 'unconditional'}; "
            f"{settings(metrics['sampling'])}; seed {metrics['seed']})."
        ]
    lines += ["", *table(figure_rows(metrics, held_out))]
    if "features" in metrics:
        lines += [
            "",
            f"The Fréchet distance is computed on {metrics['features']}: it is not FID, and is "
            "comparable only with figures on the same features and as many pictures. Reconstructed "
            "pictures are compared with their own originals.",
        ]
    for key, label in metrics.get("features_of", {}).items():
        lines += ["", f"`{key}` is computed on {label}: {few_words(metrics)}."]
    if "clip" in metrics:
        among = metrics.get("r_precision_among")
        ranked = f" R-precision ranks a caption among {among} different ones." if among else ""
        lines += [
            "",
            f"The fit of captions is measured by {metrics['clip']}: compare it only with figures "
            f"of the same model.{ranked}",
        ]
    return lines


def few_words(metrics: Mapping[str, Any]) -> str:
    """Return the words that stand beside an FID: few pictures give larger ones."""
    count = metrics["pictures"]
    return f"{count} pictures against {count}; fewer give larger distances, and papers take 50,000"


def figure_rows(metrics: Mapping[str, Any], held_out: bool = True) -> list[tuple[str, str]]:
    """Return labels and values of the figures, each value with those it is compared with.

    ``held_out``: False if the pictures were also trained on; the labels then state it.
    """
    return [
        (label if held_out else label.replace("held-out", _NOT_HELD_OUT), _beside(figure, form))
        for key, label, form in _FIGURES
        if (figure := metrics.get(key)) is not None
    ]


def _beside(figure: Any, form: str) -> str:
    """Return a figure with its comparisons: "0.81 (real 0.90, reconstructed 0.88)"."""
    if not isinstance(figure, Mapping):
        return form.format(figure)
    others = [
        f"{key} {form.format(value)}"
        for key, value in figure.items()
        if key != "drawn" and value is not None
    ]
    return form.format(figure["drawn"]) + (f" ({', '.join(others)})" if others else "")

"""Model cards of priors: what one draws, how it was made and what it measured, from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .tokenizer import license_of

if TYPE_CHECKING:
    from ..priors import PriorConfig

_KINDS = {
    "autoregressive": "an autoregressive transformer over tokens, in raster order",
    "diffusion": "discrete diffusion over tokens (VQ-Diffusion, arXiv:2111.14822)",
    "masked": "parallel decoding of masked tokens (MaskGIT, arXiv:2202.04200)",
    "latent": "diffusion over the tokenizer's continuous latents (DDPM, arXiv:2006.11239; drawn by "
    "DDIM, arXiv:2010.02502)",
}
_TOLD = {"text": "a text", "semantic": "a semantic map", "label": "a class label"}
_DRAWN = {"layout": "maps", "tokens": "tokens"}
_SIZES = ("width", "layers", "heads")


def prior_card(
    name: str,
    config: PriorConfig,
    tokenizer: str,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> str:
    """The card of a prior's bundle, Markdown with Hugging Face front matter.

    ``tokenizer``: the name of the tokenizer whose tokens it draws.
    """
    from ..priors import describe_prior

    described = describe_prior(config)
    about, license_name, terms = license_of(recipe)
    told = [_TOLD[each["name"]] for each in described["conditions"]]
    grid = "x".join(str(side) for side in config.grid)
    sizes = [f"{key} {described[key]}" for key in _SIZES if key in described]
    if described.get("patch", 1) > 1:
        sizes.append(f"{described['patch']}x{described['patch']} tokens share a position")
    lines = [
        "---",
        f"license: {license_name}",
        "library_name: regvq-studio",
        "tags: [image-generation, vector-quantization, token-prior]",
        "---",
        "",
        f"# {name}",
        "",
        f"A prior of RegVQ Studio: it draws pictures{_by(described)}, in {grid} tokens of the "
        f"tokenizer `{tokenizer}`.",
        "",
        f"- **Kind:** {_KINDS[described['name']]}; {', '.join(sizes)}",
        f"- **Is told:** {', '.join(told) or 'nothing'}",
        *_first(described),
        f"- **Training data:** {about}{_views(recipe)}",
        f"- **Recipe:** `python train/run.py {recipe.get('name')}{_shards(recipe)}{_init(recipe)} "
        f"--steps {recipe.get('steps')}{_flags(recipe)}`",
        *_beginning(recipe),
        f"- **Trained for:** {metrics.get('step', recipe.get('steps'))} of {recipe.get('steps')} "
        f"steps of {recipe.get('batch')} pictures, seed {recipe.get('seed')}",
        f"- **Drawn with:** {_sampling(recipe.get('sampling', {}))}",
        f"- **Licence and terms:** {terms}",
        "",
        "```python",
        "from regvq.checkpoints import load_prior, load_tokenizer, prior_tokenizer",
        "from regvq.conditions import Condition",
        "",
        f'prior = load_prior("checkpoints/{name}")',
        f'tokenizer = load_tokenizer(prior_tokenizer("checkpoints/{name}"))',
        f"ids = prior.generate({_example(described, recipe)})",
        "images = tokenizer.decode(ids)  # (4, 3, H, W) in [-1, 1]",
        "```",
        "",
        *_figures(metrics),
    ]
    return "\n".join(lines) + "\n"


def _first(described: Mapping[str, Any]) -> list[str]:
    layout = described.get("layout")
    if not layout:
        return []
    sizes = ", ".join(f"{key} {layout[key]}" for key in _SIZES)
    return [
        "- **Draws first:** where it is told no map, the map, cell by cell in raster order; "
        f"{sizes} (the order is Make-A-Scene's, arXiv:2203.13131; how is INFERRED)"
    ]


def _beginning(recipe: Mapping[str, Any]) -> list[str]:
    if not recipe.get("init"):
        projected = "token embeddings and output weights projected from the tokenizer's codes"
        return [f"- **Begun with:** {projected}"] if recipe.get("embeddings") == "codes" else []
    other = recipe.get("init_tokenizer")
    moved = f", which drew tokens of the tokenizer `{other}` before" if other else ""
    only = recipe.get("train_only", "all")
    alone = "" if only == "all" else f"; only what draws {_DRAWN[only]} was trained"
    return [f"- **Begun with:** the weights of the prior `{recipe['init']}`{moved}{alone}"]


def _flags(recipe: Mapping[str, Any]) -> str:
    return f" {recipe['flags']}" if recipe.get("flags") else ""


def _views(recipe: Mapping[str, Any]) -> str:
    tokens = recipe.get("tokens")
    if not tokens:
        return ""
    return f" {tokens['views']:,} token grids of {tokens['pictures']:,} pictures."


def _shards(recipe: Mapping[str, Any]) -> str:
    return " --tokens DIR" if recipe.get("tokens") else ""


def _init(recipe: Mapping[str, Any]) -> str:
    return " --init DIR" if recipe.get("init") else ""


def _sampling(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _by(described: Mapping[str, Any]) -> str:
    names = [each["name"] for each in described["conditions"]]
    drawn = bool(described.get("layout"))
    told = [_TOLD[name] for name in names if not (drawn and name == "semantic")]
    by = f" told by {' and '.join(told)}" if told else ""
    return f"{by}, with or without {_TOLD['semantic']}" if drawn else by


def _example(described: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    drawn = recipe.get("data", {}).get("name") == "scenes"
    saying = "a lake below mountains" if drawn else "what is to be seen"
    sampling = recipe.get("sampling", {})
    parts = {
        "text": f'texts=("{saying}",)',
        "semantic": "segmentation=segmentation",
        "label": "labels=labels",
    }
    if described.get("layout"):
        del parts["semantic"]  # which it draws itself
    names = [each["name"] for each in described["conditions"]]
    said = ", ".join(parts[name] for name in names if name in parts)
    plain = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "steps": None}
    how = [f"{key}={value}" for key, value in sampling.items() if value != plain.get(key)]
    return ", ".join([*([f"Condition({said})"] if said else []), "n=4", *how])


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    lines = ["## Figures", ""]
    if "pictures" not in metrics:
        lines += ["Pictures not judged yet: run `python train/evaluate.py`.", ""]
    else:
        lines += [
            f"{metrics['pictures']} pictures drawn for held-out conditions of "
            f"`{metrics.get('data', {}).get('name')}` (told "
            f"{' and '.join(metrics.get('told', ())) or 'nothing'}; "
            f"{_sampling(metrics['sampling'])}; seed {metrics['seed']}).",
            "",
        ]
    lines += ["| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in figure_rows(metrics))]
    if "features" in metrics:
        lines += [
            "",
            f"The Fréchet distance is on {metrics['features']}: it is no FID, and compares only "
            "with figures on the same features and as many pictures. Reconstructions are of the "
            "very pictures that they are compared with.",
        ]
    return lines


def figure_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Figures as they are shown: what it is, and its value beside those it is compared with."""
    return [
        (label, _beside(figure, form))
        for key, label, form in _ROWS
        if (figure := metrics.get(key)) is not None
    ]


_ROWS = (
    ("bits_per_token", "Bits a token on held-out pictures", "{:.3f}"),
    ("bits_with_map", "Bits a token on held-out pictures, those of their maps included", "{:.3f}"),
    ("denoising", "Mean squared error of the foretold noise on held-out pictures", "{:.4f}"),
    ("named_right", "Named attributes that are right, by the classifier", "{:.1%}"),
    ("mean_iou", "Mean IoU of the segmenter with the map that was given", "{:.3f}"),
    ("pixel_accuracy", "Pixels that the segmenter finds as given", "{:.1%}"),
    ("frechet_distance", "Fréchet distance to held-out pictures", "{:.3f}"),
    ("seconds_per_picture", "Seconds a picture, many at once, where this was measured", "{:.2f}"),
)


def _beside(figure: Any, form: str) -> str:
    """A figure with what it is measured beside: "0.81 (real 0.90, reconstructed 0.88)"."""
    if not isinstance(figure, Mapping):
        return form.format(figure)
    others = [
        f"{key} {form.format(value)}"
        for key, value in figure.items()
        if key != "drawn" and value is not None
    ]
    return form.format(figure["drawn"]) + (f" ({', '.join(others)})" if others else "")

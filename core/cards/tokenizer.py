"""Model cards: what a bundle is, how it was made and what it measured, written from its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..metrics.protocol import is_feature_distance
from .imported import imported_card

if TYPE_CHECKING:
    from ..tokenizer import TokenizerConfig

_DATA = {
    "scenes": (
        "Landscapes drawn by this project's own code (`scenes`); no photographs.",
        "apache-2.0",
        "Apache-2.0, as the code that draws the data.",
    ),
    "folder": (
        "A folder of pictures that the maker of this bundle had.",
        "other",
        "Whatever the terms of those pictures allow; assume non-commercial research only.",
    ),
}
_QUANTIZERS = {
    "regvq": "Reg-VQ (Zhang et al., CVPR 2023, arXiv:2303.06424)",
    "vq": "nearest-code VQ (VQ-VAE, arXiv:1711.00937; VQ-GAN, arXiv:2012.09841)",
    "simvq": "SimVQ (arXiv:2411.02038)",
    "nsvq": "NSVQ (arXiv:2606.11363)",
    "gumbel": "Gumbel-VQ (Gumbel-softmax, arXiv:1611.01144)",
    "fsq": "FSQ (arXiv:2309.15505)",
    "lfq": "LFQ (MAGVIT-v2, arXiv:2310.05737)",
    "ibq": "IBQ (arXiv:2412.02692)",
}
_NAMES = {
    "rfid": "rFID",
    "lpips_alex": "LPIPS (AlexNet)",
    "lpips_vgg": "LPIPS (VGG-16)",
    "lpips_squeeze": "LPIPS (SqueezeNet)",
}
_ROWS = (
    ("psnr", "PSNR, mean over pictures", "{:.2f} dB"),
    ("ssim", "SSIM, mean over pictures", "{:.4f}"),
    ("utilization", "Codebook utilization", "{:.1%}"),
    ("perplexity", "Perplexity of code use", "{:.1f}"),
    ("bytes", "Bytes a picture, ids at log2 K bits", "{:.0f}"),
)


def model_card(
    name: str,
    config: TokenizerConfig,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
    command: str | None = None,
) -> str:
    """The card of a tokenizer bundle, Markdown with Hugging Face front matter."""

    if "imported" in recipe:
        return imported_card(name, config, recipe["imported"], _figures(metrics))
    described = config.to_dict()
    quantizer = described["quantizer"]
    data = recipe.get("data", {})
    about, licence, terms = licence_of(recipe)
    shape = f"{config.network.latent_dim}-dimensional codes, one per {config.network.downsampling}"
    lines = [
        "---",
        f"license: {licence}",
        "library_name: regvq-studio",
        "tags: [vector-quantization, image-tokenizer, codebook]",
        "---",
        "",
        f"# {name}",
        "",
        f"An image tokenizer of RegVQ Studio: {quantizer['size']:,} {shape}x"
        f"{config.network.downsampling} pixels, any picture size.",
        "",
        f"- **Quantizer:** {_QUANTIZERS[quantizer['name']]}; {_settings(quantizer)}",
        f"- **Network:** {config.network.summary}",
        f"- **Training data:** {about}",
        f"- **Recipe:** `{command or _command(recipe)}`",
        *_beginning(recipe),
        f"- **Trained for:** {metrics.get('step', recipe.get('steps'))} of {recipe.get('steps')} "
        f"steps of {recipe.get('batch')} crops of {data.get('size')} pixels{_last_part(data)}, "
        f"seed {recipe.get('seed')}{_rate(recipe)}",
        f"- **Loss features:** {recipe.get('features', 'none')}",
        f"- **Loss weights:** {_settings(recipe.get('loss', {}))}",
        f"- **Licence and terms:** {terms}",
        *_patches(metrics),
        "",
        "```python",
        "from regvq import Tokenizer",
        "",
        f'tokenizer = Tokenizer.from_pretrained("checkpoints/{name}")',
        "ids = tokenizer.encode(images)    # (B, 3, H, W) in [-1, 1] -> int64 (B, h, w)",
        "images = tokenizer.decode(ids)",
        "```",
        "",
        *_figures(metrics),
    ]
    return "\n".join(lines) + "\n"


def licence_of(recipe: Mapping[str, Any]) -> tuple[str, str, str]:
    """What is said of a recipe's data, the licence's name, and its terms."""
    about, licence, terms = _DATA.get(recipe.get("data", {}).get("name"), _DATA["folder"])
    if origin := recipe.get("imported"):
        about = f"That of {origin['title']}; see its source, {origin['source']}."
        licence = origin["license"] or "other"
        terms = origin["license"] or "Those of its source, which the file does not state."
    # What a maker says (--note.data of train/evaluate.py) goes before what is assumed.
    return recipe.get("data_note", about), licence, recipe.get("terms_note", terms)


def _patches(metrics: Mapping[str, Any]) -> list[str]:
    if "patches" not in metrics:
        return []
    told = metrics["patches"]
    return [
        f"- **Real patches:** `atlas.npz` holds {told['patches']:,} small pieces of "
        f"{told['pictures']:,} pictures: {told['source']}"
    ]


def _beginning(recipe: Mapping[str, Any]) -> list[str]:
    if not recipe.get("init"):
        return []
    kept = ""
    if recipe.get("train_only") == "decoder":
        kept = "; encoder and codes are as they were there, so pictures have the same tokens"
    return [f"- **Begun with:** the weights of `{recipe['init']}`{kept}"]


def _last_part(data: Mapping[str, Any]) -> str:
    if not data.get("last_size"):
        return ""
    return f" (of {data['last_size']} pixels in the last {data['last_share']:.0%}, as many fewer)"


def _rate(recipe: Mapping[str, Any]) -> str:
    times = recipe.get("codes_rate", 1.0)
    return f"; the codes learn at {times:g} times the network's rate" if times != 1 else ""


def _command(recipe: Mapping[str, Any]) -> str:
    if "command" in recipe:  # made by another command than train/run.py
        return recipe["command"]
    root = " --data.root DIR" if recipe.get("data", {}).get("name") == "folder" else ""
    init = " --init DIR" if recipe.get("init") else ""
    flags = f" {recipe['flags']}" if recipe.get("flags") else ""
    steps = f" --steps {recipe.get('steps')}"
    return f"python train/run.py {recipe.get('name')}{root}{init}{steps}{flags}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if key != "name")


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    if "psnr" not in metrics:
        return ["## Figures", "", "Not evaluated yet: run `python train/evaluate.py`."]
    data = metrics.get("data", {})
    held_out = {True: "held-out ", False: "NOT held-out (also trained on) "}
    kind = held_out.get(data.get("held_out"), "")
    place = data.get("described") or f"pictures of the data set `{data.get('name')}`"
    whole = f"centre squares of {data['square']} pixels" if "square" in data else "whole pictures"
    if "longest" in data:
        whole += f", the longer side at most {data['longest']:,} pixels"
    rows = [
        f"| {label} | {_shown(metrics[key], form)} |"
        for key, label, form in _ROWS
        if key in metrics
    ]
    for key, value in metrics.items():
        if key.endswith(("_distance", "_fd")):
            what = "Feature distance" if key.endswith("_distance") else "Fréchet distance"
            rows.append(f"| {what} `{key}` | {_shown(value, '{:.4f}')} |")
        elif is_feature_distance(key):
            rows.append(f"| {_NAMES.get(key, key)} | {_shown(value, '{:.4f}')} |")
    lines = [
        "## Figures",
        "",
        f"On {metrics['images']} {kind}{place}: {whole}, argmax codes, "
        f"{metrics['codes_used']:,} of {metrics['codebook_size']:,} codes used over "
        f"{metrics['tokens']:,} tokens.",
        "",
        "| | |",
        "|---|---|",
        *rows,
    ]
    if "features" in metrics:
        lines += [
            "",
            f"Distances are computed on {metrics['features']}: they are neither LPIPS nor FID, and "
            "compare only with figures on the same features. Where training used these features "
            "as its loss, as named above, codecs that did not are at a disadvantage here.",
        ]
    if "features_of" in metrics:
        named = metrics.get("protocol", metrics["features_of"])
        lines += ["", *(f"- `{key}`: {named[key]}." for key in metrics["features_of"])]
    return lines + _codecs(metrics)


def _shown(value: float | None, form: str) -> str:
    """A figure as it is printed. JSON has no infinity, so the PSNR of an exact copy is None."""
    if value is None or value == math.inf:
        return "∞ (exact copies)"
    return form.format(value)


def _codecs(metrics: Mapping[str, Any]) -> list[str]:
    codecs = metrics.get("codecs")
    if not codecs:
        return []
    distance = next((key for key in metrics if key.endswith("_distance")), None)
    lines = [
        "",
        "At equal bytes (`within budget`: share of pictures that the codec could code in the "
        "tokens' bytes; where it could not, its smallest file is taken):",
        "",
        f"| | bytes | within budget | PSNR | SSIM | {distance or ''} |",
        "|---|---|---|---|---|---|",
    ]
    for label, row in {"tokens": metrics, **codecs}.items():
        share = f"{row['within_budget']:.0%}" if "within_budget" in row else ""
        shown = _shown(row[distance], "{:.4f}") if distance in row else ""
        lines.append(
            f"| {label.replace('_', ' ')} | {row['bytes']:.0f} | {share} "
            f"| {_shown(row['psnr'], '{:.2f} dB')} | {row['ssim']:.4f} | {shown} |"
        )
    return lines

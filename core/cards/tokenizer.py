"""The model card of a tokenizer: what it is, how it was made, and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..metrics.protocol import is_feature_distance
from .common import license_of, render, table
from .imported import TAGS, imported_card

if TYPE_CHECKING:
    from ..tokenizer import TokenizerConfig

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
_DISTANCES = {
    "rfid": "rFID",
    "lpips_alex": "LPIPS (AlexNet)",
    "lpips_vgg": "LPIPS (VGG-16)",
    "lpips_squeeze": "LPIPS (SqueezeNet)",
}
_FIGURES = (
    ("psnr", "PSNR, mean over pictures", "{:.2f} dB"),
    ("ssim", "SSIM, mean over pictures", "{:.4f}"),
    ("utilization", "Codebook utilization", "{:.1%}"),
    ("perplexity", "Perplexity of code use", "{:.1f}"),
    ("bytes", "Bytes per picture, ids at log2 K bits each", "{:.0f}"),
)
_HELD_OUT = {True: "held-out ", False: "NOT held-out (also trained on) "}


def model_card(
    name: str, config: TokenizerConfig, recipe: Mapping[str, Any], metrics: Mapping[str, Any]
) -> str:
    """Return the card of a tokenizer bundle."""
    if "imported" in recipe:
        return imported_card(name, config, recipe["imported"], _figures(metrics))
    described = config.to_dict()
    quantizer = described["quantizer"]
    side, data = config.network.downsampling, license_of(recipe)
    kind = quantizer["name"]
    unknown = f"`{kind}`, registered by its maker (not part of this project)"
    summary = (
        f"An image tokenizer of RegVQ Studio: {quantizer['size']:,} codes of "
        f"{config.network.latent_dim} dimensions, one code per {side}x{side} pixels, for pictures "
        "of any size."
    )
    facts = {
        "Quantizer": f"{_QUANTIZERS.get(kind, unknown)}; {_all_settings(quantizer)}",
        "Network": config.network.summary,
        "Training data": data.description,
        "Recipe": f"`{_command(recipe)}`",
        "Initialized from": _initialization(recipe),
        "Trained for": _training(recipe, metrics),
        "Loss features": recipe.get("features", "none"),
        "Loss weights": _all_settings(recipe.get("loss", {})),
        "License and terms": data.terms,
        "Real patches": _patches(metrics),
    }
    example = [
        "from regvq import Tokenizer",
        "from regvq.images import open_picture, to_tensor",
        "",
        f'tokenizer = Tokenizer.from_pretrained("checkpoints/{name}")',
        'images = to_tensor(open_picture("picture.jpg"))[None]  # (1, 3, H, W) in [-1, 1]',
        "ids = tokenizer.encode(images)  # int64 (1, h, w)",
        "images = tokenizer.decode(ids)",
    ]
    figures = _figures(metrics)
    return render(name, summary, facts, example, figures, license=data.license, tags=TAGS)


def _initialization(recipe: Mapping[str, Any]) -> str | None:
    if not recipe.get("init"):
        return None
    kept = ""
    if recipe.get("train_only") == "decoder":
        kept = "; encoder and codes are unchanged, so pictures have the same tokens"
    origin = recipe.get("init_origin")
    if origin is not None:
        terms = origin["license"] or "not stated"
        kept += f" ({origin['title']}, from {origin['source']}; its license: {terms})"
    return f"the weights of `{recipe['init']}`{kept}"


def _training(recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    data, steps, times = recipe.get("data", {}), recipe.get("steps"), recipe.get("codes_rate", 1.0)
    last = rate = ""
    if data.get("last_size"):
        last = (
            f" (crops of {data['last_size']} pixels, proportionally fewer, in the last "
            f"{data['last_share']:.0%})"
        )
    if times != 1:
        rate = f"; the codes learn at {times:g} times the network's rate"
    return (
        f"{metrics.get('step', steps)} of {steps} steps of {recipe.get('batch')} crops of "
        f"{data.get('size')} pixels{last}, seed {recipe.get('seed')}{rate}"
    )


def _command(recipe: Mapping[str, Any]) -> str:
    if "command" in recipe:  # made by another command than train/run.py
        return recipe["command"]
    parts = (
        f"python train/run.py {recipe.get('name')}",
        "--data.root DIR" if recipe.get("data", {}).get("name") == "folder" else "",
        "--init DIR" if recipe.get("init") else "",
        f"--steps {recipe.get('steps')}",
        recipe.get("flags"),
    )
    return " ".join(filter(None, parts))


def _patches(metrics: Mapping[str, Any]) -> str | None:
    if "patches" not in metrics:
        return None
    patches = metrics["patches"]
    return (
        f"`atlas.npz` holds {patches['patches']:,} small pieces of "
        f"{patches['pictures']:,} pictures: {patches['source']}"
    )


def _all_settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if key != "name")


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    if "psnr" not in metrics:
        return ["Not evaluated yet: run `python train/evaluate.py`."]
    data = metrics.get("data", {})
    pictures = data.get("described") or f"pictures of the data set `{data.get('name')}`"
    whole = f"center squares of {data['square']} pixels" if "square" in data else "whole pictures"
    if "longest" in data:
        whole += f", the longer side at most {data['longest']:,} pixels"
    lines = [
        f"On {metrics['images']} {_HELD_OUT.get(data.get('held_out'), '')}{pictures}: {whole}, "
        f"argmax codes, {metrics['codes_used']:,} of {metrics['codebook_size']:,} codes used over "
        f"{metrics['tokens']:,} tokens.",
        "",
        *table(_rows(metrics)),
    ]
    if "features" in metrics:
        lines += [
            "",
            f"Distances are computed on {metrics['features']}: they are neither LPIPS nor FID, and "
            "are comparable only with figures on the same features. If training used these "
            "features in its loss (see above), codecs, which did not, are at a disadvantage here.",
        ]
    if "features_of" in metrics:
        described = metrics.get("protocol", metrics["features_of"])
        lines += ["", *(f"- `{key}`: {described[key]}." for key in metrics["features_of"])]
    return lines + _codecs(metrics)


def _rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (label, _decibels(metrics, form) if key == "psnr" else _shown(metrics[key], form))
        for key, label, form in _FIGURES
        if key in metrics
    ]
    for key in filter(is_feature_distance, metrics):
        label = _DISTANCES.get(key)
        if key.endswith(("_distance", "_fd")):
            kind = "Feature distance" if key.endswith("_distance") else "Fréchet distance"
            label = f"{kind} `{key}`"
        rows.append((label or key, _shown(metrics[key], "{:.4f}")))
    return rows


def _shown(value: float | None, form: str) -> str:
    """Return a figure in print."""
    return "not finite" if value is None or not math.isfinite(value) else form.format(value)


def _decibels(figures: Mapping[str, Any], form: str) -> str:
    """Return the PSNR of a row in print. JSON has no infinity, so that of exact copies is None."""
    value, exact = figures["psnr"], figures.get("exact_copies", 0)
    if value is None or value == math.inf:
        # An earlier version wrote None if only some were exact copies.
        whole = figures.get("ssim", 1.0) > 1 - 1e-9
        return "∞ (exact copies)" if whole else "not stated (some are exact copies)"
    copies = "copy" if exact == 1 else "copies"
    return form.format(value) + (f" (without {exact} exact {copies})" if exact else "")


def _codecs(metrics: Mapping[str, Any]) -> list[str]:
    codecs = metrics.get("codecs")
    if not codecs:
        return []
    distance = next((key for key in metrics if key.endswith("_distance")), "")
    rows = [
        (
            label.replace("_", " "),
            f"{row['bytes']:.0f}",
            f"{row['within_budget']:.0%}" if "within_budget" in row else "",
            _decibels(row, "{:.2f} dB"),
            f"{row['ssim']:.4f}",
            _shown(row[distance], "{:.4f}") if distance in row else "",
        )
        for label, row in {"tokens": metrics, **codecs}.items()
    ]
    return [
        "",
        "At equal bytes (`within budget`: share of pictures that the codec could code in the "
        "tokens' bytes; for the others its smallest file is used):",
        "",
        *table(rows, ("", "bytes", "within budget", "PSNR", "SSIM", distance)),
    ]

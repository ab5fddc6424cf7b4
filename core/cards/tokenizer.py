"""The model card of a tokenizer: what it is, how it was made, and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..channels import count_words, projection
from ..metrics.protocol import LPIPS_KEYS, is_feature_distance
from .common import batch_words, launcher, license_of, origin_words, render, table
from .imported import TAGS, imported_card
from .levels import all_codes, level_lines, levels_words
from .measured_further import robustness_lines, text_lines

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
    "bsq": "BSQ (arXiv:2406.07548)",
    "diveq": "DiVeQ (arXiv:2509.26469)",
    "fsp": "FSP (VP-VAE, arXiv:2602.17133)",
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
        return imported_card(name, config, recipe["imported"], _figures(metrics, recipe))
    described = config.to_dict()
    quantizer = described["quantizer"]
    side, data = config.network.downsampling, license_of(recipe)
    kind = quantizer["name"]
    unknown = f"`{kind}`, registered by its maker (not part of this project)"
    sizes = "any size" if config.channels == 3 else f"{count_words(config.channels)}, of any size"
    levels = config.levels
    several = levels.count > 1
    codes, axis = (f"{levels.count} codes", f"{levels.count}, ") if several else ("one code", "")
    summary = (
        f"An image tokenizer of RegVQ Studio: {quantizer['size']:,} codes of "
        f"{config.network.latent_dim // levels.groups} dimensions, {codes} per {side}x{side} "
        f"pixels, for pictures of {sizes}."
    )
    facts = {
        "Quantizer": f"{_QUANTIZERS.get(kind, unknown)}; {_all_settings(quantizer)}",
        "Levels": levels_words(config) if several else None,
        "Network": config.network.summary,
        "Channels": _channels(config),
        "Training data": data.description,
        "Recipe": f"`{_command(recipe)}`",
        "Initialized from": _initialization(recipe),
        "Trained for": _training(recipe, metrics),
        "Made with": origin_words(recipe),
        "Loss features": recipe.get("features", "none"),
        "Loss weights": _all_settings(recipe.get("loss", {})),
        "License and terms": data.terms,
        "Real patches": _patches(metrics),
    }
    reader = "images import open_picture, to_tensor"
    picture = 'to_tensor(open_picture("picture.jpg"))[None]  # (1, 3, H, W) in [-1, 1]'
    if config.channels != 3:
        reader = "arrays import array_to_tensor, read_array"
        picture = (
            'array_to_tensor(read_array("picture.npy"))[None]  '
            f"# (1, {config.channels}, H, W) in [-1, 1]"
        )
    example = [
        "from regvq import Tokenizer",
        f"from regvq.{reader}",
        "",
        f'tokenizer = Tokenizer.from_pretrained("checkpoints/{name}")',
        f"images = {picture}",
        f"ids = tokenizer.encode(images)  # int64 (1, {axis}h, w)",
        "images = tokenizer.decode(ids)",
    ]
    figures = _figures(metrics, recipe)
    return render(name, summary, facts, example, figures, license=data.license, tags=TAGS)


def _channels(config: TokenizerConfig) -> str | None:
    """Return the channels in words; None if all three are seen as they are."""
    seen = projection(config.channels, config.perceptual_channels)
    if config.channels == 3 and seen == (0, 1, 2):
        return None
    numbers = " ".join(str(place + 1) for place in seen)
    return (
        f"{config.channels}, from the lowest value of the files' type (-1) to its highest (1): "
        "uint8, uint16, or float from 0 to 1; losses and distances on pretrained features see the "
        f"channels {numbers} as red, green and blue"
    )


def _initialization(recipe: Mapping[str, Any]) -> str | None:
    if not recipe.get("init"):
        return None
    kept = ""
    if recipe.get("codes_from") == "latents":
        kept = "; the codes are k-means centers of the latents that it computes for the pictures"
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
        f"{metrics.get('step', steps)} of {steps} steps of {batch_words(recipe, 'crops')} of "
        f"{data.get('size')} pixels{last}, seed {recipe.get('seed')}{rate}"
    )


def _command(recipe: Mapping[str, Any]) -> str:
    if "command" in recipe:  # made by another command than train/run.py
        return recipe["command"]
    parts = (
        f"{launcher(recipe)} train/run.py {recipe.get('name')}",
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


def _independence(metrics: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """Return the sentence on whether the loss used the features of the figures."""
    network = metrics["features"].partition(" (")[0]
    if network in recipe.get("features", ""):
        return (
            f"Training used {network} in its loss, so that codecs, which did not, are at a "
            "disadvantage here."
        )
    return f"Training did not use {network}."


def _figures(metrics: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    if "psnr" not in metrics:
        return ["Not evaluated yet: run `python train/evaluate.py`."]
    data = metrics.get("data", {})
    pictures = data.get("described") or f"pictures of the data set `{data.get('name')}`"
    whole = f"center squares of {data['square']} pixels" if "square" in data else "whole pictures"
    if "longest" in data:
        whole += f", the longer side at most {data['longest']:,} pixels"
    lines = [
        f"On {metrics['images']:,} {_HELD_OUT.get(data.get('held_out'), '')}{pictures}: {whole}, "
        f"argmax codes, {metrics['codes_used']:,} of {all_codes(metrics)} codes used over "
        f"{metrics['tokens']:,} tokens.",
        "",
        *table(_rows(metrics)),
        *level_lines(metrics),
    ]
    if "features" in metrics:
        lines += [
            "",
            f"Distances are computed on {metrics['features']}: they are neither LPIPS nor FID, and "
            "are comparable only with figures on the same features. "
            + _independence(metrics, recipe),
        ]
    if "features_of" in metrics:
        described = metrics.get("protocol", metrics["features_of"])
        lines += ["", *(f"- `{key}`: {described[key]}." for key in metrics["features_of"])]
    return (
        lines
        + text_lines(metrics)
        + robustness_lines(metrics)
        + _further(metrics)
        + _codecs(metrics)
    )


def _further(metrics: Mapping[str, Any]) -> list[str]:
    """Return a table of the figures on further pictures, a row for each set of pictures."""
    rows = metrics.get("further")
    if not rows:
        return []
    keys = [key for key, _, _ in _FIGURES if key != "bytes"]
    keys += [key for key in dict.fromkeys(key for row in rows for key in row) if key in LPIPS_KEYS]
    labels = {key: label.partition(",")[0] for key, label, _ in _FIGURES} | _DISTANCES
    forms = {key: form for key, _, form in _FIGURES}
    head = f"| pictures | {' | '.join(labels[key] for key in keys)} |"
    lines = ["", "On further pictures:", "", head, "|---" * (len(keys) + 1) + "|"]
    names = [
        row["data"].get("described") or f"pictures of `{row['data'].get('name')}`" for row in rows
    ]
    for row, name in zip(rows, names, strict=True):
        cells = [f"{row['images']:,} {name}"]
        for key in keys:
            if key not in row:
                cells.append("")
            elif key == "psnr":
                cells.append(_decibels(row, forms[key]))
            else:
                cells.append(_shown(row[key], forms.get(key, "{:.4f}")))
        lines.append(f"| {' | '.join(cells)} |")
    for row, name in zip(rows, names, strict=True):
        lines += robustness_lines(row, name)
    return lines


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

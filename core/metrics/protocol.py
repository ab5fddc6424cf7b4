"""The protocol of figures, in words that are stated beside them: without it they mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LPIPS_KEYS = ("lpips_alex", "lpips_vgg", "lpips_squeeze")


def is_feature_distance(key: str) -> bool:
    """Return True if a figure's key names a distance on pretrained features of any kind."""
    return key in LPIPS_KEYS or key in ("rfid", "fid") or key.endswith(("_distance", "_fd"))


def protocol(
    data: Mapping[str, Any], figures: Mapping[str, Any], available: int, skipped: int = 0
) -> dict[str, str]:
    """Return the protocol of an evaluation of reconstructions, a sentence for each figure.

    data: the data set (``name``, ``split``, ``square`` or ``size`` in pixels if set, and
    ``stretch`` if its pictures were stretched to squares first).
    figures: the result of `evaluate_tokenizer`. available: the number of pictures in the split.
    skipped: the number of chosen pictures that could not be read.
    """
    shape = "whole, at their own size"
    if "square" in data:
        side = data["square"]
        shape = f"center squares, resized to {side} x {side} pixels (Lanczos)"
    elif "size" in data:
        shape = f"drawn at {data['size']} x {data['size']} pixels"
    if data.get("stretch"):
        shape += ", after they were stretched to squares"
    chosen = "" if figures["images"] + skipped == available else ", spread evenly"
    color = figures.get("channels", 3) == 3
    said = {
        "pictures": f"{figures['images']} of the {available} of {data['name']}, split "
        f"{data['split']}{chosen}; {shape}",
        "reconstruction": "decoded from the token ids alone, chosen by argmax, nothing masked; "
        + ("rounded to 8 bits" if color else "not rounded"),
        "psnr": "mean over pictures of the PSNR of each, over all pixels and channels, peak 1; "
        "exact copies, whose PSNR is infinite, are left out of the mean",
        "ssim": "mean over pictures; Gaussian window of 11 x 11, sigma 1.5, per "
        f"{'RGB channel' if color else 'channel, mean over all'}, where "
        "the window fits",
        "usage": f"codes used, utilization and perplexity over these {figures['tokens']} tokens",
    }
    if seen := figures.get("perceptual_channels"):
        said["channels"] = (
            f"{figures['channels']}, with values between the limits of the files' type; distances "
            f"on features see the channels {', '.join(map(str, seen))} as red, green and blue"
        )
    for key, label in figures.get("features_of", {}).items():
        said[key] = f"on {label}"
        if key.endswith(("fid", "_fd")):
            said[key] += (
                f"; {figures['images']} pictures against their reconstructions, 8 bits, resized "
                "to 299 x 299 as TensorFlow 1 does (bilinear, not antialiased); sample covariances"
            )
        else:
            said[key] += "; mean over pictures, each at its own size"
    if "features" in figures:
        said["feature distances"] = f"on {figures['features']}: neither LPIPS nor FID"
    if "text" in figures:
        said["text"] = (
            f"{figures['text']['lines']} drawn lines of three words per height, read by rapidocr's "
            "recognition; characters: mean of 1 minus the edit distance divided by the longer "
            "text's length; words: share read exactly; case ignored"
        )
    if "robustness" in figures:
        said["robustness"] = (
            f"a share of the tokens replaced by one of the {figures['robustness']['neighbors']} "
            "nearest other codes of each, all equally likely, against the "
            f"{figures['robustness']['images']} pictures"
        )
    return said

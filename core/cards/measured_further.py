"""The tables of a card on text in reconstructions and on replaced tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import table

_COLUMNS = {
    "psnr": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.4f}"),
    "lpips_alex": ("LPIPS (AlexNet)", "{:.4f}"),
    "lpips_vgg": ("LPIPS (VGG-16)", "{:.4f}"),
}


def text_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return a table of the drawn text that is read, a row for each height; [] without figures."""
    if "text" not in metrics:
        return []
    keys = ("characters", "words", "original_characters", "original_words")
    rows = [
        (f"{row['height']} pixels", *(f"{row[key]:.0%}" for key in keys))
        for row in metrics["text"]["rows"]
    ]
    header = ("letters", "characters", "words", "characters of originals", "words of originals")
    return ["", "Drawn text that OCR reads in the reconstructions:", "", *table(rows, header)]


def robustness_lines(metrics: Mapping[str, Any], pictures: str = "") -> list[str]:
    """Return a table of the figures with replaced tokens, a row for each share; [] without any.

    ``pictures`` describes those of ``metrics``, if they are not those of the whole card.
    """
    if "robustness" not in metrics:
        return []
    found = metrics["robustness"]
    columns = {key: column for key, column in _COLUMNS.items() if key in found["rows"][0]}
    rows = [
        (f"{row['share']:.0%}", *(form.format(row[key]) for key, (_, form) in columns.items()))
        for row in found["rows"]
    ]
    header = ("tokens replaced", *(label for label, _ in columns.values()))
    some = found["images"] < metrics["images"]
    where = f", on {found['images']:,} of the pictures" if some else ""
    if pictures:
        where = f", on {found['images']:,} {'of the ' if some else ''}{pictures}"
    near = (
        f"A share of the tokens replaced by one of the {found['neighbors']} nearest codes of "
        f"each{where}:"
    )
    return ["", near, "", *table(rows, header)]

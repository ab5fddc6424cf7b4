"""Panels of figures, as HTML. Every value is escaped; nothing is computed here."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from ..services.formatting import format_bytes, format_number


def stat(label: str, value: str, unit: str = "", note: str = "", key: str = "") -> str:
    """Return one figure: label, value, unit, and a note on what it is measured on."""
    return (
        f'<div class="rv-stat" data-figure="{escape(key)}"><dt>{escape(label)}</dt>'
        f'<dd><span class="rv-value">{escape(value)}</span>'
        f'<span class="rv-unit">{escape(unit)}</span></dd>'
        f'<p class="rv-note">{escape(note)}</p></div>'
    )


def panel(label: str, known: bool, stats: list[str], more: str = "", kind: str = "panel") -> str:
    """Return a panel of figures; ``known`` false draws placeholders over its values."""
    return (
        f'<section class="rv-{kind}" aria-label="{escape(label)}" '
        f'data-ready="{str(known).lower()}"><dl class="rv-stats">{"".join(stats)}</dl>'
        f"{more}</section>"
    )


def _psnr(known: bool, figures: dict[str, Any], note: str) -> str:
    exact = known and figures["psnr"] is None
    value = "exact" if exact else format_number(figures.get("psnr"), 2)
    return stat("PSNR", value, "" if exact else "dB", note, "psnr")


def reconstruction_figures(figures: dict[str, Any] | None) -> str:
    """Return the panel beside a reconstruction; without figures, the same panel with dashes."""
    f = figures or {}
    known = bool(figures)
    drawn = f.get("tokens_drawn", 0)
    tokens_note = "–"
    if known:
        side = f["downsampling"]
        each = f.get("level", 1)  # levels up to this one are decoded
        tokens_note = f"{f['tokens_wide']} × {f['tokens_high']}, "
        tokens_note += f"{'one' if each == 1 else each} per {side} × {side} pixels"
    if drawn:
        tokens_note += f"; {format_number(drawn)} drawn at random"
    elif known and f["mask_ratio"] > 0:
        tokens_note += "; none drawn: this quantizer has no probabilities"
    codes_note = "–"
    if known:
        codes_note = f"of {format_number(f['codebook_size'] * f.get('level', 1))} codes"
    too_small = known and f["ssim"] is None
    ssim_note = "needs 11 pixels a side" if too_small else "1 is the same structure"
    stats = [
        _psnr(known, f, "higher is closer to the original"),
        stat("SSIM", format_number(f.get("ssim"), 3), "", ssim_note, "ssim"),
        stat("Tokens", format_number(f.get("tokens")), "", tokens_note, "tokens"),
        stat("Codes used", format_number(f.get("codes_used")), "", codes_note, "codes_used"),
    ]
    return panel("Figures", known, stats, _bytes_chart(f if known else None))


def _bytes_chart(f: dict[str, Any] | None) -> str:
    """Return the sizes as tokens and as files, as dots on one logarithmic axis."""
    rows = [
        ("tokens", "Tokens", "bytes_tokens"),
        ("jpeg-small", "JPEG, smallest", "bytes_jpeg_smallest"),
        ("jpeg", "JPEG, quality 75", "bytes_jpeg"),
        ("png", "PNG, lossless", "bytes_png"),
    ]
    low, high = 2.0, 6.5
    if f:
        values = [max(1, f[key]) for _, _, key in rows]
        low = math.floor(math.log10(min(values)) - 0.15)
        high = max(math.log10(max(values)) + 0.1, low + 1.2)

    def place(value: float) -> float:
        return 100 * (math.log10(max(value, 1)) - low) / (high - low)

    lines = []
    for kind, label, key in rows:
        at = place(f[key]) if f else 0
        value = format_bytes(f[key]) if f else "–"
        lines.append(
            f'<li class="rv-bytes-{kind}" data-figure="{key}"><span>{label}</span>'
            f"<b>{value}</b>"
            f'<i aria-hidden="true"><u style="width:{at:.2f}%"></u></i></li>'
        )
    ticks = "".join(
        f'<span class="{"rv-first" if place(10**power) < 7 else ""}" '
        f'style="left:{place(10**power):.2f}%">{_tick(10**power)}</span>'
        for power in range(math.ceil(low), math.floor(high) + 1)
    )
    return (
        '<div class="rv-bytes"><h3>Bytes, on a logarithmic axis</h3>'
        f'<ul>{"".join(lines)}</ul><div class="rv-axis" aria-hidden="true">{ticks}</div>'
        f'<p class="rv-note">{escape(_bytes_sentence(f))}</p></div>'
    )


def _tick(count: int) -> str:
    return format_bytes(count).replace(".0 ", " ")


def _bytes_sentence(f: dict[str, Any] | None) -> str:
    if not f:
        return "–"
    words = [
        f"{format_number(f['tokens'])} tokens of {f['bits_per_token']:g} bits, "
        f"{f['bytes_png'] / f['bytes_tokens']:.0f} times fewer bytes than PNG."
    ]
    if f["psnr_jpeg_equal"] is not None:
        size = format_bytes(f["bytes_jpeg_equal"])
        words.append(f"JPEG of {size} reaches {f['psnr_jpeg_equal']:.1f} dB.")
    if (f["uploaded_width"], f["uploaded_height"]) != (f["width"], f["height"]):
        words.append(
            f"Shrunk from {f['uploaded_width']} × {f['uploaded_height']} to "
            f"{f['width']} × {f['height']} for the model."
        )
    return " ".join(words)


def usage_figures(figures: dict[str, Any] | None) -> str:
    """Return the strip above the codebook: its usage, and the pictures on which it was counted."""
    f = figures or {}
    known = bool(figures)
    used = f"{format_number(f.get('used'))} of {format_number(f.get('total'))} codes used"
    stats = [
        stat(
            "Utilization",
            f"{100 * f['utilization']:.1f}" if known else "–",
            "%",
            used,
            "utilization",
        ),
        stat("Dead codes", format_number(f.get("dead")), "", "never used in this count", "dead"),
        stat(
            "Perplexity",
            format_number(f.get("perplexity"), 1),
            "",
            "as varied as this many equally frequent codes",
            "perplexity",
        ),
        stat(
            "Tokens counted",
            format_number(f.get("tokens")),
            "",
            f"counted on {f['source']}" if known else "–",
            "tokens",
        ),
    ]
    return panel("Codebook usage", known, stats, kind="strip")


def mask_figures(figures: dict[str, Any] | None) -> str:
    """Return the panel beside the mask: the cost of the draw; without figures, with dashes."""
    f = figures or {}
    known = bool(figures)
    lost = f.get("lost")
    tokens = f.get("tokens", 0)
    changed = f"{100 * f['changed'] / tokens:.0f} % of all tokens" if known else "–"
    entropy = f"as undecided as among {2 ** f['entropy']:,.0f} codes" if known else "–"
    stats = [
        _psnr(known, f, f"{lost:.2f} dB less than without a mask" if lost else "as without a mask"),
        stat("Changed", format_number(f.get("changed")), "", changed, "changed"),
        stat("Drawn", format_number(f.get("drawn")), "", f"of {format_number(tokens)} tokens",
             "drawn"),
        stat("Entropy", format_number(f.get("entropy"), 2), "bits", entropy, "entropy"),
    ]  # fmt: skip
    return panel("Figures of the mask", known, stats)

"""Panels of figures, as HTML. Every value is escaped; nothing here computes."""

from __future__ import annotations

import math
from html import escape
from typing import Any

KB = 1000.0


def size(count: float) -> str:
    """A number of bytes in words: "812 B", "3.8 kB", "1.2 MB" (powers of 1000)."""
    if count < KB:
        return f"{count:.0f} B"
    if count < KB**2:
        return f"{count / KB:.1f} kB" if count < 100 * KB else f"{count / KB:.0f} kB"
    return f"{count / KB**2:.1f} MB"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separators; a dash for none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def stat(label: str, value: str, unit: str = "", note: str = "", key: str = "") -> str:
    """One figure: what it is, the value, its unit, and what it is measured on."""
    return (
        f'<div class="rv-stat" data-figure="{escape(key)}"><dt>{escape(label)}</dt>'
        f'<dd><span class="rv-value">{escape(value)}</span>'
        f'<span class="rv-unit">{escape(unit)}</span></dd>'
        f'<p class="rv-note">{escape(note)}</p></div>'
    )


def reconstruction_figures(figures: dict[str, Any] | None) -> str:
    """The panel beside the stage; without figures, the same panel with dashes."""
    f = figures or {}
    known = bool(figures)
    drawn = f.get("tokens_drawn", 0)
    tokens_note = (
        f"{f['tokens_wide']} × {f['tokens_high']}, one per {f['downsampling']} × "
        f"{f['downsampling']} pixels"
        if known
        else "–"
    )
    if drawn:
        tokens_note += f"; {number(drawn)} drawn at random"
    elif known and f["mask_ratio"] > 0:
        tokens_note += "; none drawn: this quantizer knows no probabilities"
    exact = known and f["psnr"] is None
    stats = "".join(
        (
            stat(
                "PSNR",
                "exact" if exact else number(f.get("psnr"), 2),
                "" if exact else "dB",
                "higher is closer to the original",
                "psnr",
            ),
            stat("SSIM", number(f.get("ssim"), 3), "", "1 is the same structure", "ssim"),
            stat("Tokens", number(f.get("tokens")), "", tokens_note, "tokens"),
            stat(
                "Codes used",
                number(f.get("codes_used")),
                "",
                f"of {number(f['codebook_size'])} codes" if known else "–",
                "codes_used",
            ),
        )
    )
    return (
        f'<section class="rv-panel" aria-label="Figures" data-ready="{str(known).lower()}">'
        f'<dl class="rv-stats">{stats}</dl>{_bytes_chart(f if known else None)}</section>'
    )


def _bytes_chart(f: dict[str, Any] | None) -> str:
    """Bytes as tokens and as files, as dots on one logarithmic axis."""
    rows = [
        ("tokens", "Tokens", "bytes_tokens", ""),
        ("jpeg-small", "JPEG, smallest", "bytes_jpeg_smallest", ""),
        ("jpeg", "JPEG, quality 75", "bytes_jpeg", ""),
        ("png", "PNG, lossless", "bytes_png", ""),
    ]
    low, high = 2.0, 6.5
    if f:
        values = [max(1, f[key]) for _, _, key, _ in rows]
        low = math.floor(math.log10(min(values)) - 0.15)
        high = max(math.log10(max(values)) + 0.1, low + 1.2)

    def place(value: float) -> float:
        return 100 * (math.log10(max(value, 1)) - low) / (high - low)

    lines = []
    for kind, label, key, _ in rows:
        at = place(f[key]) if f else 0
        value = size(f[key]) if f else "–"
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
    return size(count).replace(".0 ", " ")


def _bytes_sentence(f: dict[str, Any] | None) -> str:
    if not f:
        return "–"
    words = [
        f"{number(f['tokens'])} tokens of {f['bits_per_token']:g} bits, "
        f"{f['bytes_png'] / f['bytes_tokens']:.0f} times fewer bytes than PNG."
    ]
    if f["psnr_jpeg_equal"] is not None:
        words.append(
            f"JPEG of {size(f['bytes_jpeg_equal'])} reaches {f['psnr_jpeg_equal']:.1f} dB."
        )
    if (f["uploaded_width"], f["uploaded_height"]) != (f["width"], f["height"]):
        words.append(
            f"Shrunk from {f['uploaded_width']} × {f['uploaded_height']} to "
            f"{f['width']} × {f['height']} for the model."
        )
    return " ".join(words)


def usage_figures(figures: dict[str, Any] | None) -> str:
    """The strip above the codebook: how much of it is used, and on what that was counted."""
    f = figures or {}
    known = bool(figures)
    on = f"counted on {f['source']}" if known else "–"
    stats = "".join(
        (
            stat(
                "Utilization",
                f"{100 * f['utilization']:.1f}" if known else "–",
                "%",
                f"{number(f.get('used'))} of {number(f.get('total'))} codes used",
                "utilization",
            ),
            stat("Dead codes", number(f.get("dead")), "", "never used in this count", "dead"),
            stat(
                "Perplexity",
                number(f.get("perplexity"), 1),
                "",
                "as varied as this many equally frequent codes",
                "perplexity",
            ),
            stat("Tokens counted", number(f.get("tokens")), "", on, "tokens"),
        )
    )
    return (
        f'<section class="rv-strip" aria-label="Codebook usage" '
        f'data-ready="{str(known).lower()}"><dl class="rv-stats">{stats}</dl></section>'
    )


def mask_figures(figures: dict[str, Any] | None) -> str:
    """The panel beside the mask: what the draw cost; without figures, the same with dashes."""
    f = figures or {}
    known = bool(figures)
    exact = known and f["psnr"] is None
    lost = f.get("lost")
    tokens = f.get("tokens", 0)
    stats = "".join(
        (
            stat(
                "PSNR",
                "exact" if exact else number(f.get("psnr"), 2),
                "" if exact else "dB",
                f"{lost:.2f} dB less than without a mask" if lost else "as without a mask",
                "psnr",
            ),
            stat(
                "Changed",
                number(f.get("changed")),
                "",
                f"{100 * f['changed'] / tokens:.0f} % of all tokens" if known else "–",
                "changed",
            ),
            stat("Drawn", number(f.get("drawn")), "", f"of {number(tokens)} tokens", "drawn"),
            stat(
                "Entropy",
                number(f.get("entropy"), 2),
                "bits",
                f"as undecided as among {2 ** f['entropy']:,.0f} codes" if known else "–",
                "entropy",
            ),
        )
    )
    return (
        f'<section class="rv-panel" aria-label="Figures of the mask" '
        f'data-ready="{str(known).lower()}"><dl class="rv-stats">{stats}</dl></section>'
    )

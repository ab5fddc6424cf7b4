"""A notice about the checkpoints that the owner named: being fetched, or why they are missing."""

from __future__ import annotations

from html import escape


def notice() -> tuple[str, bool]:
    """Return the notice as HTML, "" if there is none, and whether checkpoints are being fetched."""
    from regvq.bundles import sources

    lines = [escape(one) for one in sources.problems()]
    waiting = sources.pending()
    if waiting:
        names = ", ".join(f"<b>{escape(name)}</b>" for name in waiting)
        verb = "is" if len(waiting) == 1 else "are"
        lines.append(f"{names} {verb} being fetched from the Hub …")
    if not lines:
        return "", False
    body = "".join(f"<p>{line}</p>" for line in lines)
    return f'<div class="rv-notice" role="status">{body}</div>', bool(waiting)

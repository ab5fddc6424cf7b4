"""What the owner's further checkpoints are about: being fetched, or why there are none."""

from __future__ import annotations

from html import escape


def further() -> tuple[str, bool]:
    """A notice for the page as HTML, "" if there is nothing to say, and whether to ask again."""
    from regvq.bundles import sources

    said = [escape(one) for one in sources.problems()]
    waiting = sources.pending()
    if waiting:
        names = ", ".join(f"<b>{escape(name)}</b>" for name in waiting)
        said.append(f"{names} {'is' if len(waiting) == 1 else 'are'} being fetched from the Hub …")
    if not said:
        return "", False
    lines = "".join(f"<p>{one}</p>" for one in said)
    return f'<div class="rv-notice" role="status">{lines}</div>', bool(waiting)

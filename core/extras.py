"""Packages that only some uses need: the optional extras of the distribution."""

from __future__ import annotations

from importlib.util import find_spec


def missing_extra(user: str, extra: str, *packages: str) -> str | None:
    """Return a sentence that says which of the ``packages`` that ``user`` needs are not installed,
    and the remedy; None if all are. They belong to the extra ``extra`` of pyproject.toml."""
    missing = [name for name in packages if find_spec(name) is None]
    if not missing:
        return None
    return f"{user} needs {', '.join(missing)}: pip install 'regvq-studio[{extra}]'"

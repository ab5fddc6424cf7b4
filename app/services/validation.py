"""Checks of values that come from a page or from an API client."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .errors import UserError

MAX_SEED = 2**31 - 1


def number(value: Any, what: str, low: float, high: float) -> float:
    """Return ``value`` as a finite number from ``low`` to ``high``. Raises UserError."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not low <= found <= high:
        raise UserError(
            f"The {what} must be a number from {_plain(low)} to {_plain(high)}, not {value!r:.40}."
        )
    return found


def _plain(value: float) -> str:
    """Return a number without an exponent if it is whole: 2147483647, not 2.14748e+09."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def whole_number(value: Any, what: str, low: int, high: int) -> int:
    """Return ``value`` as an integer from ``low`` to ``high``. Raises UserError."""
    found = number(value, what, low, high)
    if found != int(found):
        raise UserError(
            f"The {what} must be a whole number from {low} to {high}, not {value!r:.40}."
        )
    return int(found)


def one_of(value: Any, what: str, choices: Sequence[Any]) -> Any:
    """Return ``value`` if it is among ``choices``. Raises UserError."""
    if value not in list(choices):  # a list of a page has no hash
        names = ", ".join(str(choice) for choice in choices)
        raise UserError(f"The {what} must be one of {names}, not {str(value)[:40]!r}.")
    return value


def finite(value: Any) -> float | None:
    """Return a finite number as float, and None for anything else: JSON has no infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None

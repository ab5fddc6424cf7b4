"""Sentences about values that do not fit."""

from __future__ import annotations

import pytest

from app.services.errors import UserError
from app.services.validation import MAX_SEED, number, whole_number


def test_limits_are_written_without_an_exponent() -> None:
    with pytest.raises(UserError, match="must be a number from 0 to 2147483647, not 'x'"):
        whole_number("x", "seed", 0, MAX_SEED)
    with pytest.raises(UserError, match=r"must be a number from 0\.05 to 5, not 7"):
        number(7, "temperature", 0.05, 5)

"""Sentences about values that do not fit."""

from __future__ import annotations

import pytest

from app.services.errors import UserError
from app.services.validation import MAX_SEED, number, one_of, whole_number


def test_limits_are_written_without_an_exponent() -> None:
    with pytest.raises(UserError, match="must be a number from 0 to 2147483647, not 'x'"):
        whole_number("x", "seed", 0, MAX_SEED)
    with pytest.raises(UserError, match=r"must be a number from 0\.05 to 5, not 7"):
        number(7, "temperature", 0.05, 5)


def test_a_choice_that_has_no_hash_is_refused_with_a_sentence() -> None:
    assert one_of("umap", "layout", {"umap": 1, "pca": 2}) == "umap"
    for choices in ({"pca": 1}, ("pca",)):
        with pytest.raises(UserError, match=r"layout must be one of pca, not \"\['pca'\]\""):
            one_of(["pca"], "layout", choices)

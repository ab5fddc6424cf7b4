"""The settings of a prior's sampling."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services import priors, sampling
from app.services.errors import UserError


@pytest.mark.parametrize("value", [10**400, "1e999", float("nan"), [1], {}])
def test_a_seed_that_is_not_a_number_is_refused(home: Path, value: object) -> None:
    with pytest.raises(UserError, match="must be a"):
        sampling.parse_settings(priors.open_prior("words", "text"), 1, value)

"""The kinds of discrete priors, as a fixture."""

from __future__ import annotations

import pytest

from tests.core.priors.small_priors import KINDS


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param

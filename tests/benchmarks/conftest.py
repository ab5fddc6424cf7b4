"""Fixtures of the explorer's tests that its benchmarks' tests use."""

from tests.app.conftest import bundles, only_these

__all__ = ["bundles", "only_these"]

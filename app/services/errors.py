"""The error that a user of the explorer reads."""

from __future__ import annotations


class UserError(ValueError):
    """A request that cannot be fulfilled; its text is one sentence for the user."""

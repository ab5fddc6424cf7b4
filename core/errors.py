"""Errors that a user's input can cause. Each message is one sentence: the file or value, what is
wrong with it, and the remedy."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A bundle that is missing, broken, or does not fit its use."""


class DataError(ValueError):
    """A data set that cannot be used."""


class PictureError(ValueError):
    """A picture or a label map that cannot be read."""


class FeatureError(ValueError):
    """Pretrained weights that are missing, broken, or do not fit their network."""

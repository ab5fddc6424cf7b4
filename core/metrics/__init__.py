"""Metrics: picture quality, feature distances, codebook usage, and codecs for comparison."""

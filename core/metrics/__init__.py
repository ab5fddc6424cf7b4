"""Measures: picture quality, feature distances, codebook usage, and codecs to stand beside."""

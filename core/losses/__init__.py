"""Losses of training that are not part of a quantizer."""

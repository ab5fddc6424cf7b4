"""Tar shards in WebDataset's layout, in folders or on web servers."""

from .dataset import TarShards

__all__ = ["TarShards"]

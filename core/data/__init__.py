"""Data sets: each yields ``Sample``s, by index for evaluation and by draw for training."""

from ..errors import DataError
from .registry import NAMES, fitting_name, has_held_out, open_dataset, register_dataset
from .sample import SPLITS, Dataset, Sample, center

__all__ = [
    "NAMES",
    "SPLITS",
    "DataError",
    "Dataset",
    "Sample",
    "center",
    "fitting_name",
    "has_held_out",
    "open_dataset",
    "register_dataset",
]

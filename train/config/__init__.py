"""Settings of runs, for recipes."""

from .base import AdamWConfig, CommonConfig, PicturesConfig
from .prior import PriorRunConfig, SamplingConfig
from .stages import StagesConfig
from .tokenizer import DataConfig, FeatureConfig, LossConfig, OptimizerConfig, RunConfig

__all__ = [
    "AdamWConfig",
    "CommonConfig",
    "DataConfig",
    "FeatureConfig",
    "LossConfig",
    "OptimizerConfig",
    "PicturesConfig",
    "PriorRunConfig",
    "RunConfig",
    "SamplingConfig",
    "StagesConfig",
]

"""Quantizers: one idea a file, all with the face of ``base.Quantizer``."""

from core.quantizers.base import Quantized, Quantizer
from core.quantizers.regvq import RegularizedVectorQuantizer, RegVQConfig
from core.quantizers.usage import UsageWindow
from core.quantizers.vq import VectorQuantizer, VQConfig

QuantizerConfig = RegVQConfig | VQConfig

# The names that config.json uses. A name, once shipped, stays.
QUANTIZERS: dict[str, type[RegVQConfig] | type[VQConfig]] = {"vq": VQConfig, "regvq": RegVQConfig}

__all__ = [
    "QUANTIZERS",
    "Quantized",
    "Quantizer",
    "QuantizerConfig",
    "RegVQConfig",
    "RegularizedVectorQuantizer",
    "UsageWindow",
    "VQConfig",
    "VectorQuantizer",
]

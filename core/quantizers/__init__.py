"""Quantizers: one idea per file, all with the interface of ``base.Quantizer``."""

from .base import Quantized, Quantizer
from .fsq import FiniteScalarQuantizer, FSQConfig
from .gumbel import GumbelConfig, GumbelQuantizer
from .ibq import IBQConfig, IndexBackpropagationQuantizer
from .lfq import LFQConfig, LookupFreeQuantizer
from .nsvq import NonStationaryVectorQuantizer, NSVQConfig
from .regvq import RegularizedVectorQuantizer, RegVQConfig
from .simvq import SimVectorQuantizer, SimVQConfig
from .usage import UsageWindow
from .vq import VectorQuantizer, VQConfig

QuantizerConfig = (
    RegVQConfig
    | VQConfig
    | SimVQConfig
    | NSVQConfig
    | GumbelConfig
    | FSQConfig
    | LFQConfig
    | IBQConfig
)

QUANTIZERS: dict[str, type[QuantizerConfig]] = {
    "vq": VQConfig,
    "regvq": RegVQConfig,
    "simvq": SimVQConfig,
    "nsvq": NSVQConfig,
    "gumbel": GumbelConfig,
    "fsq": FSQConfig,
    "lfq": LFQConfig,
    "ibq": IBQConfig,
}
"""The config classes by the names in config.json. A name that was published never changes."""

__all__ = [
    "QUANTIZERS",
    "FSQConfig",
    "FiniteScalarQuantizer",
    "GumbelConfig",
    "GumbelQuantizer",
    "IBQConfig",
    "IndexBackpropagationQuantizer",
    "LFQConfig",
    "LookupFreeQuantizer",
    "NSVQConfig",
    "NonStationaryVectorQuantizer",
    "Quantized",
    "Quantizer",
    "QuantizerConfig",
    "RegVQConfig",
    "RegularizedVectorQuantizer",
    "SimVQConfig",
    "SimVectorQuantizer",
    "UsageWindow",
    "VQConfig",
    "VectorQuantizer",
]

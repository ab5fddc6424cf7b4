"""Quantizers: one idea a file, all with the face of ``base.Quantizer``."""

from core.quantizers.base import Quantized, Quantizer
from core.quantizers.fsq import FiniteScalarQuantizer, FSQConfig
from core.quantizers.gumbel import GumbelConfig, GumbelQuantizer
from core.quantizers.ibq import IBQConfig, IndexBackpropagationQuantizer
from core.quantizers.lfq import LFQConfig, LookupFreeQuantizer
from core.quantizers.nsvq import NonStationaryVectorQuantizer, NSVQConfig
from core.quantizers.regvq import RegularizedVectorQuantizer, RegVQConfig
from core.quantizers.simvq import SimVectorQuantizer, SimVQConfig
from core.quantizers.usage import UsageWindow
from core.quantizers.vq import VectorQuantizer, VQConfig

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

# The names that config.json uses. A name, once shipped, stays.
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

"""Quantizers: one idea per file, all with the interface of ``base.Quantizer``."""

from dataclasses import fields, is_dataclass
from typing import Any

from ..extensions import ExtensionError, load_extensions, same_definition
from .base import Quantized, Quantizer
from .bsq import BinarySphericalQuantizer, BSQConfig
from .diveq import DifferentiableVectorQuantizer, DiVeQConfig
from .fsp import FiniteScalarPerturbation, FSPConfig
from .fsq import FiniteScalarQuantizer, FSQConfig
from .gumbel import GumbelConfig, GumbelQuantizer
from .ibq import IBQConfig, IndexBackpropagationQuantizer
from .levels import LeveledQuantizer
from .levels_config import LevelsConfig
from .lfq import LFQConfig, LookupFreeQuantizer
from .nsvq import NonStationaryVectorQuantizer, NSVQConfig
from .product import ProductConfig, ProductQuantizer
from .regvq import RegularizedVectorQuantizer, RegVQConfig
from .residual import ResidualConfig, ResidualQuantizer
from .signals import SignalQuantizer
from .simvq import SimVectorQuantizer, SimVQConfig
from .tiled import operators as _operators  # noqa: F401  (for torch.compile)
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
    | BSQConfig
    | DiVeQConfig
    | FSPConfig
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
    "bsq": BSQConfig,
    "diveq": DiVeQConfig,
    "fsp": FSPConfig,
}
"""The config classes by the names in config.json. A name that was published never changes."""

__all__ = [
    "QUANTIZERS",
    "BSQConfig",
    "BinarySphericalQuantizer",
    "DiVeQConfig",
    "DifferentiableVectorQuantizer",
    "FSPConfig",
    "FSQConfig",
    "FiniteScalarPerturbation",
    "FiniteScalarQuantizer",
    "GumbelConfig",
    "GumbelQuantizer",
    "IBQConfig",
    "IndexBackpropagationQuantizer",
    "LFQConfig",
    "LeveledQuantizer",
    "LevelsConfig",
    "LookupFreeQuantizer",
    "NSVQConfig",
    "NonStationaryVectorQuantizer",
    "ProductConfig",
    "ProductQuantizer",
    "Quantized",
    "Quantizer",
    "QuantizerConfig",
    "RegVQConfig",
    "RegularizedVectorQuantizer",
    "ResidualConfig",
    "ResidualQuantizer",
    "SignalQuantizer",
    "SimVQConfig",
    "SimVectorQuantizer",
    "UsageWindow",
    "VQConfig",
    "VectorQuantizer",
    "quantizer_class",
    "register_quantizer",
]


def register_quantizer(name: str, config: type[Any]) -> None:
    """Make a quantizer of your own known under ``name``: to bundles, recipes and commands.

    ``config`` is a frozen dataclass with a field ``size`` (K, the number of codes), other fields
    that JSON can hold, and a method ``build(dim)`` that returns a ``Quantizer`` with codes of
    length ``dim``. A bundle stores the name and the fields; to open it, the same name must be
    registered (``core.extensions``). Raises ExtensionError for a name that is taken, or for a class
    that is not such a config.
    """
    if not name or not isinstance(name, str):
        raise ExtensionError(f"the name of a quantizer must be a string, got {name!r}")
    if not (isinstance(config, type) and is_dataclass(config)):
        raise ExtensionError(f"the config of the quantizer {name!r} must be a dataclass")
    if "size" not in {field.name for field in fields(config)}:
        raise ExtensionError(f"the config of the quantizer {name!r} needs a field size")
    if not callable(getattr(config, "build", None)):
        raise ExtensionError(f"the config of the quantizer {name!r} needs a method build(dim)")
    known = QUANTIZERS.get(name)
    if known is not None and known is not config and not same_definition(known, config):
        raise ExtensionError(f"the quantizer name {name!r} is taken; choose another name")
    QUANTIZERS[name] = config


def quantizer_class(name: str) -> type[Any]:
    """Return the config class of the quantizer ``name``. Raises ValueError if it is unknown."""
    if name not in QUANTIZERS:
        load_extensions()
    if name not in QUANTIZERS:
        raise ValueError(
            f"unknown quantizer {name!r}; available: {', '.join(QUANTIZERS)}; if it is your own, "
            "set REGVQ_EXTENSIONS to the Python file that registers it"
        )
    return QUANTIZERS[name]

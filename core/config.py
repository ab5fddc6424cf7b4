"""What a bundle's config.json says of its model: configs as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .priors import PriorConfig
    from .tokenizer import TokenizerConfig


class CheckpointError(ValueError):
    """A bundle is missing, broken or does not fit; one sentence with the file and the remedy."""


def describe_tokenizer(config: TokenizerConfig) -> dict[str, Any]:
    """A tokenizer's config as JSON: nested dictionaries, the quantizer tagged with its name."""
    from .quantizers import QUANTIZERS

    name = next(key for key, kind in QUANTIZERS.items() if isinstance(config.quantizer, kind))
    settings = asdict(config.quantizer)
    # A file that training began from is its maker's affair; what it held is in the weights.
    settings = {key: value for key, value in settings.items() if not isinstance(value, Path)}
    return {"network": asdict(config.network), "quantizer": {"name": name, **settings}}


def tokenizer_config(described: Any, file: Path | str = "config.json") -> TokenizerConfig:
    """The inverse of ``describe_tokenizer``. Raises ``CheckpointError`` naming ``file``."""
    from .networks.autoencoder import NetworkConfig
    from .quantizers import QUANTIZERS
    from .tokenizer import TokenizerConfig

    try:
        network = dict(described["network"])
        network["widths"] = tuple(network["widths"])
        quantizer = dict(described["quantizer"])
        kind = QUANTIZERS[quantizer.pop("name")]
        unknown = set(quantizer) - {f.name for f in fields(kind)}
        if unknown:
            raise ValueError(f"unknown quantizer setting {', '.join(sorted(unknown))}")
        return TokenizerConfig(NetworkConfig(**network), kind(**quantizer))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not describe a tokenizer: {error}.") from None


def describe_prior(config: PriorConfig) -> dict[str, Any]:
    """A prior's config as JSON: its settings, tagged with its name, and so each condition."""
    from .conditions import CONDITIONS
    from .priors import PRIORS

    settings = asdict(config)
    settings["conditions"] = [
        {"name": _name_of(condition, CONDITIONS), **asdict(condition)}
        for condition in config.conditions
    ]
    return {"name": _name_of(config, PRIORS), **settings}


def prior_config(described: Any, file: Path | str = "config.json") -> PriorConfig:
    """The inverse of ``describe_prior``. Raises ``CheckpointError`` naming ``file``."""
    from .conditions import CONDITIONS
    from .priors import PRIORS, LayoutConfig

    try:
        settings = dict(described)
        settings["conditions"] = tuple(_named(each, CONDITIONS) for each in settings["conditions"])
        if settings.get("layout") is not None:
            settings["layout"] = LayoutConfig(**settings["layout"])
        return _named(settings, PRIORS)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not describe a prior: {error}.") from None


def _name_of(config: Any, registry: Mapping[str, type]) -> str:
    return next(name for name, kind in registry.items() if type(config) is kind)


def _named(described: Mapping[str, Any], registry: Mapping[str, type]) -> Any:
    """The config of a registry's class that ``describe_…`` wrote; JSON's lists become tuples."""
    settings = dict(described)
    kind = registry[settings.pop("name")]
    if unknown := set(settings) - {field.name for field in fields(kind)}:
        raise ValueError(f"unknown setting {', '.join(sorted(unknown))}")
    return kind(**{key: _tuples(value) for key, value in settings.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

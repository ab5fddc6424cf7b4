"""Runs of recipes to measure: the trainer of a recipe, with data and features that are at hand.

The pictures are drawn scenes, unless others are named, and pretrained features have random weights:
a step takes the same time with them, and nothing has to be downloaded. Nothing is trained well.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

TINY_SIDE = 32


def run_of(
    recipe: str,
    folder: Path,
    *,
    size: int | None = None,
    batch: int | None = None,
    precision: str = "auto",
    data: str = "scenes",
    root: Path | None = None,
    workers: int | None = None,
    tokenizer: Path | None = None,
    changes: dict[str, Any] | None = None,
    tiny: bool = False,
) -> Any:
    """Return the trainer of ``recipe`` (``TokenizerTrainer`` or ``PriorTrainer``) in ``folder``.

    ``size``, ``batch`` and ``workers`` replace the recipe's. ``tokenizer``: the bundle of a prior's
    tokenizer; None: an untrained small one. ``changes``: further settings of the run. ``tiny``:
    small networks, for a test.
    """
    from train.config.tokenizer import RunConfig
    from train.recipes import config_of

    config: Any = config_of(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"name": data, "root": root, "last_size": None}
    if size is not None:
        settings["size"] = size
    if workers is not None or tiny:
        settings["workers"] = workers or 0
    fields = config.data.__dataclass_fields__
    settings = {name: value for name, value in settings.items() if name in fields}
    further = {"precision": precision, **(changes or {})}
    if batch is not None:
        further["batch"] = batch
    config = replace(config, data=replace(config.data, **settings), **further)
    if isinstance(config, RunConfig):
        return _tokenizer_run(config, folder, tiny)
    return _prior_run(config, folder, tokenizer, tiny)


def _tokenizer_run(config: Any, folder: Path, tiny: bool) -> Any:
    from train.config.tokenizer import RunConfig
    from train.loop.tokenizer import TokenizerTrainer

    if tiny:
        config = _small(config)
    name = "squeezenet" if config.features.name == "auto" else config.features.name
    features = replace(config.features, name=name)
    if name != "none":
        features = replace(features, weights=random_weights(name, folder))
    second = config.second_features
    if second.name != "none":
        second = replace(second, weights=random_weights(second.name, folder))
    loss = config.loss
    if loss.lpips:  # its fitted heads are downloaded; without them each channel has the weight 1
        loss = replace(loss, lpips=False)
    config = replace(
        config, features=features, second_features=second, loss=loss,
        init=None, codes_from=RunConfig.codes_from,
    )  # fmt: skip
    return TokenizerTrainer(config, folder / "run")


def _small(config: Any) -> Any:
    """Return a tokenizer's config with small networks and few codes."""
    from core.networks.autoencoder import NetworkConfig

    quantizer = config.tokenizer.quantizer
    if "levels" not in quantizer.__dataclass_fields__:
        quantizer = replace(quantizer, size=64)
    network = NetworkConfig(widths=(8, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=8)
    return replace(
        config,
        tokenizer=replace(config.tokenizer, network=network, quantizer=quantizer),
        data=replace(config.data, size=TINY_SIDE),
        discriminator=replace(config.discriminator, width=8, layers=1),
        batch=min(config.batch, 2),
        features=replace(config.features, name="none"),
        second_features=replace(config.second_features, name="none"),
        loss=replace(config.loss, perceptual=0.0, second_perceptual=0.0, contrastive="none"),
    )


def _prior_run(config: Any, folder: Path, tokenizer: Path | None, tiny: bool) -> Any:
    from train.loop import prior as loop

    # A run that is only measured needs no more.
    loop.HELD_OUT, loop.READ = (2, 8) if tiny else (8, 200)
    if tiny:
        sizes = {"width": 32, "layers": 1, "heads": 2, "blocks": 1, "factors": (1, 2)}
        known = config.prior.__dataclass_fields__
        sizes = {name: value for name, value in sizes.items() if name in known}
        config = replace(
            config,
            prior=replace(config.prior, **sizes),
            data=replace(config.data, size=TINY_SIDE),
            batch=min(config.batch, 2),
        )
    if tokenizer is None:
        tokenizer = small_tokenizer(folder / "tokenizer", tiny)
    config = replace(config, tokenizer=tokenizer, tokens=None, init=None)
    return loop.PriorTrainer(config, folder / "run")


def small_tokenizer(folder: Path, tiny: bool = False) -> Path:
    """Write the bundle of an untrained tokenizer, one token per 8 x 8 pixels; return its folder."""
    import torch

    from core.networks.autoencoder import NetworkConfig
    from core.quantizers import VQConfig
    from core.tokenizer import Tokenizer, TokenizerConfig

    torch.manual_seed(0)
    widths = (8, 16) if tiny else (64, 128)
    network = NetworkConfig(widths=widths, latent_dim=8, encoder_blocks=1, decoder_blocks=1)
    quantizer = VQConfig(size=32 if tiny else 1024)
    tokenizer = Tokenizer(TokenizerConfig(network, quantizer)).eval()
    return tokenizer.save_pretrained(folder).path


def random_weights(name: str, folder: Path) -> Path:
    """Write random weights for the features ``name``; return the file."""
    from safetensors.torch import save_file
    from torchvision import models

    file = folder / f"{name}.safetensors"
    if not file.exists():
        networks = {
            "squeezenet": models.squeezenet1_1, "alexnet": models.alexnet, "vgg16": models.vgg16,
            "vgg19": models.vgg19,
        }  # fmt: skip
        layers = networks[name](weights=None).features
        save_file(
            {f"features.{key}": x.contiguous() for key, x in layers.state_dict().items()}, file
        )
    return file


def pictures(trainer: Any) -> Any:
    """Return a batch of a tokenizer's run on its device: random pictures of the run's size."""
    import torch

    config = trainer.config
    shape = (config.batch, config.tokenizer.channels, config.data.size, config.data.size)
    images = torch.rand(shape, device=trainer.device) * 2 - 1
    return images.contiguous(memory_format=torch.channels_last)

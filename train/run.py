"""Train a tokenizer or a prior: ``python train/run.py RECIPE [--data.root DIR] [--steps N] ...``

Writes a run folder: ``bundle/`` (the checkpoint, which the app lists), ``state/`` (to go on from),
``samples/``, ``tensorboard/`` and ``log.jsonl``. Started again with the same --out, it goes on.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file: python train/run.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from regvq.errors import DataError
from regvq.paths import ROOT

from .cli.data import name_for_pictures
from .cli.errors import UsageError, one_line_errors, parse_flags

if TYPE_CHECKING:
    from .config.tokenizer import CommonConfig

# Settings that may differ when a run goes on: they say how long and how, not what is learnt.
_FREE = ("steps", "out", "log_every", "save_every", "stop_after", "precision", "sampling")


def main(arguments: list[str] | None = None) -> Path:
    """Parse the command line, train, and return the bundle's folder."""
    from regvq.errors import CheckpointError

    with one_line_errors(ValueError):  # every setting that makes no sense is a ValueError
        config = _parse(arguments)
    with one_line_errors(DataError, CheckpointError, UsageError):
        if config.data.name == "folder" and config.data.root is None:
            raise DataError(
                f"{config.recipe} trains on your pictures: name a folder with --data.root DIR."
            )
        if not getattr(getattr(config, "prior", None), "conditions", ()):
            # A tokenizer, or a prior that is told nothing, learns from pictures alone: for any data
            # set a plain folder does.
            name = name_for_pictures(config.data.name, config.data.root)
            config = replace(config, data=replace(config.data, name=name))
        return _train(config, config.out or ROOT / "runs" / config.recipe)


def _parse(arguments: list[str] | None) -> CommonConfig:
    import tyro

    from .recipes.priors import PRIOR_RECIPES, prior_config_of
    from .recipes.tokenizers import RECIPES, config_of

    configs = {name: config_of(name) for name in RECIPES}
    configs |= {name: prior_config_of(name) for name in PRIOR_RECIPES}
    recipes = tyro.extras.subcommand_type_from_defaults(
        configs,
        descriptions={
            name: recipe.__doc__ or "" for name, recipe in (RECIPES | PRIOR_RECIPES).items()
        },
        prefix_names=False,
    )
    return parse_flags(
        tyro.conf.AvoidSubcommands[recipes],
        arguments,
        program="python train/run.py",
        description=__doc__,
    )


def _train(config: CommonConfig, out: Path) -> Path:
    from regvq.errors import FeatureError

    from .config.prior import PriorRunConfig
    from .loop.base import NotFinite
    from .loop.prior import PriorTrainer
    from .loop.tokenizer import Trainer

    with one_line_errors(NotFinite, FeatureError):
        kind = PriorTrainer if isinstance(config, PriorRunConfig) else Trainer
        trainer = kind(config, out)
        if trainer.accelerator.is_main_process:  # only now, when data and features were found
            _remember(config, out)
        bundle = trainer.train()
    if trainer.accelerator.is_main_process:
        print(f"the checkpoint is {bundle}")
    return bundle


def _remember(config: CommonConfig, out: Path) -> None:
    """Write the run's settings to ``run.json``; refuse a folder that holds another run."""
    from regvq.bundles.storage import write_json
    from regvq.errors import CheckpointError

    described = json.loads(json.dumps(asdict(config), default=_written))
    for name in _FREE:
        described.pop(name, None)  # not every kind of run has each of them
    described["data"].pop("workers")
    file = out / "run.json"
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        for field in fields(config):  # settings that came after the run was begun
            if field.name in described and field.default is not MISSING:
                before.setdefault(field.name, field.default)
        for name in _FREE:
            before.pop(name, None)  # nor was each of them always free
        if differing := sorted(_differences(before, described)):
            raise CheckpointError(
                f"{out} holds a run with another {', '.join(differing[:4])}; "
                "choose another --out, or the same settings to go on."
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, described)


def _written(path: Path) -> str:
    """A path as ``run.json`` has it: absolute; an address without its query, which may be a key."""
    from regvq.data.shards.remote import redact_query, url_of

    url = url_of(path)
    return redact_query(url) if url is not None else str(path.resolve())


def _differences(a: Any, b: Any, name: str = "") -> set[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return {
            found
            for key in set(a) | set(b)
            for found in _differences(a.get(key), b.get(key), f"{name}.{key}" if name else key)
        }
    return set() if a == b else {name}


if __name__ == "__main__":
    main()

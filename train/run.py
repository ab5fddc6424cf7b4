"""Train a tokenizer or a prior: ``python train/run.py RECIPE [--data.root DIR] [--steps N] ...``

Writes a run folder: ``bundle/`` (the checkpoint, which the explorer lists), ``best/`` (that of the
best validation), ``state/`` (from which the run resumes), ``samples/``, ``tensorboard/``,
``log.jsonl`` and ``run.json`` (settings and versions). Started again with the same --out, the run
resumes.

RECIPE is a name of the list below, or a function in a Python file of your own: FILE.py:NAME (also
written --recipe FILE.py:NAME). It takes no arguments and returns a RunConfig or a PriorRunConfig
(train/recipes/own_file.py has an example); the file may also register a quantizer or a data set.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a file: python train/run.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.stopping import exit_code, keep_printing, stop_signals

if __name__ == "__main__":  # before anything that takes time to import
    stop_signals.install()

from .cli.common import program
from .cli.errors import UsageError, one_line_errors, prepare
from .recipes.command_line import parse_run, recipe_list
from .recipes.own_file import default_folder

if TYPE_CHECKING:
    from .config.base import CommonConfig

PROGRAM = program("run")


def main(arguments: list[str] | None = None) -> Path:
    """Parse the command line, train, and return the bundle's folder."""
    from regvq.errors import CheckpointError, DataError, FeatureError

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in (["-h"], ["--help"]):
        print(f"usage: {PROGRAM} RECIPE [flags]\n       {PROGRAM} RECIPE --help\n")
        print(f"{__doc__}\n{recipe_list()}")
        raise SystemExit(0)
    prepare()
    with one_line_errors(UsageError):
        config = parse_run(arguments, PROGRAM)
    with one_line_errors(DataError, CheckpointError, FeatureError, UsageError):
        return _train(config)


def console() -> int:
    """Run the command as a program, such as ``regvq-train``; return the exit code."""
    stop_signals.install()
    keep_printing()
    main()
    return 0


def _train(config: CommonConfig) -> Path:
    from regvq.errors import DataError, printable
    from regvq.paths import ROOT

    from .cli.closing import closing_lines
    from .cli.data import data_lines, name_for_pictures
    from .cli.files import locked
    from .config.prior import PriorRunConfig
    from .config.tokenizer import RunConfig
    from .loop.adopt import adopted
    from .loop.base import NonFiniteLoss
    from .loop.prior import PriorTrainer
    from .loop.processes import ProcessError, leave
    from .loop.provenance import started
    from .loop.saving import SaveError, prepare_folder
    from .loop.settings import remember_settings
    from .loop.tokenizer import TokenizerTrainer

    if isinstance(config, RunConfig) and config.adopt_init:
        config = adopted(config)
    if config.data.name == "folder" and config.data.root is None:
        raise DataError(
            f"{config.recipe} trains on your pictures: name a folder with --data.root DIR."
        )
    if not getattr(getattr(config, "prior", None), "conditions", ()):
        # A tokenizer, or a prior without conditions, needs pictures alone: a plain folder will do.
        name = name_for_pictures(config.data.name, config.data.root)
        config = replace(config, data=replace(config.data, name=name))
    out = config.out or ROOT / "runs" / default_folder(config.recipe)
    if printable(out) != str(out):
        raise DataError(f"--out {out} holds signs that are not UTF-8, or that cannot be printed.")
    with one_line_errors(NonFiniteLoss, SaveError, ProcessError), locked(out) as first:
        if first:
            prepare_folder(out)
        kind = PriorTrainer if isinstance(config, PriorRunConfig) else TokenizerTrainer
        trainer = kind(config, out)
        if trainer.accelerator.is_main_process:  # not before data and features were found
            remember_settings(config, out, trainer.contents(), trainer.processes, started())
            print("\n".join(data_lines(trainer)), flush=True)
        trainer.announces = True
        bundle = trainer.train()
        leave(trainer.accelerator)
    if trainer.stopped_by is not None:
        if trainer.accelerator.is_main_process:
            print(f"stopped at step {trainer.reached}, go on with the same command", flush=True)
        raise SystemExit(exit_code(trainer.stopped_by))
    if trainer.accelerator.is_main_process:
        print(f"the checkpoint is {bundle}")
        print("\n".join(closing_lines(config, out, trainer.best())))
    return bundle


if __name__ == "__main__":
    raise SystemExit(console())

"""The study: every quantizer on the same network, pictures, steps and seeds.

``python train/study.py run --study.root PHOTOS``     train and evaluate the unfinished runs
``python train/study.py timing --study.root PHOTOS``  time and memory of a step, each run alone
``python train/study.py downstream --study.root PHOTOS``  a prior on each tokenizer's tokens
``python train/study.py judge --study.root PHOTOS``   LPIPS, and a distance on AlexNet's features
``python train/study.py report``                      RESULTS.md, charts, docs/study/results.json
``python train/study.py ship``                        chosen tokenizers as bundles in checkpoints/

Each run has a folder of its own below --out, with ``result.json`` (its schema:
train/equal_budget/execute.py), ``counts.npy``, ``log.jsonl``, ``log.txt``, ``bundle/`` (with an
outside quantizer, ``weights.safetensors``) and, once timed, ``timing.json``. A run that has its
result is not repeated. ``docs/study/results.json`` gathers the results (schema:
train/equal_budget/results.py).
"""

from __future__ import annotations

from typing import Annotated

if not __package__:  # run as a file: python train/study.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import program
from .cli.errors import one_line_errors, parse_flags, prepare


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    prepare()
    import tyro

    from .equal_budget.flags import (
        DownstreamFlags,
        JudgeFlags,
        ReportFlags,
        RunFlags,
        ShipFlags,
        TimingFlags,
    )

    with one_line_errors(ValueError):
        flags = parse_flags(
            Annotated[RunFlags, tyro.conf.subcommand("run", prefix_name=False)]
            | Annotated[TimingFlags, tyro.conf.subcommand("timing", prefix_name=False)]
            | Annotated[DownstreamFlags, tyro.conf.subcommand("downstream", prefix_name=False)]
            | Annotated[JudgeFlags, tyro.conf.subcommand("judge", prefix_name=False)]
            | Annotated[ReportFlags, tyro.conf.subcommand("report", prefix_name=False)]
            | Annotated[ShipFlags, tyro.conf.subcommand("ship", prefix_name=False)],
            arguments,
            program=program("study"),
            description=__doc__,
        )
    from regvq.errors import CheckpointError, DataError, FeatureError

    from .equal_budget.report import write_report
    from .equal_budget.scheduler import downstream_all, judge_all, run_all, time_all
    from .equal_budget.ship import ship
    from .loop.base import NonFiniteLoss

    with one_line_errors(ValueError, CheckpointError, DataError, FeatureError, NonFiniteLoss):
        if isinstance(flags, RunFlags):
            run_all(flags)
        elif isinstance(flags, TimingFlags):
            time_all(flags)
        elif isinstance(flags, DownstreamFlags):
            downstream_all(flags)
        elif isinstance(flags, JudgeFlags):
            judge_all(flags)
        elif isinstance(flags, ReportFlags):
            write_report(flags.out, flags.results, flags.to, flags.more, flags.earlier)
        else:
            ship(flags.only, flags.out, flags.to, flags.data, flags.terms, flags.pictures)


if __name__ == "__main__":
    main()

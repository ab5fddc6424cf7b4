"""Train a judge: ``python train/judge.py segmenter|attributes|labels|words --out DIR ...``

A judge is a small network that measures generated pictures: the segmenter reads their layout, the
attribute classifier looks for the things that captions of drawn landscapes name, the classifier of
labels tells what a photograph shows, and the judge of words whether it shows what its caption
names, both on pretrained features. The judge itself is measured on held-out pictures first, and its
bundle states this score, without which no figure of the judge can be interpreted.
"""

from __future__ import annotations

from pathlib import Path

if not __package__:  # run as a file: python train/judge.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import program
from .cli.errors import UsageError, one_line_errors, parse_flags, prepare
from .judges.attributes import AttributesRun, train_attributes
from .judges.labels import LabelsRun, train_labels
from .judges.segmenter import SegmenterRun, train_segmenter
from .judges.training import check_out
from .judges.words import WordsRun, train_words


def main(arguments: list[str] | None = None) -> Path:
    """Train and measure a judge, write its bundle, and return the bundle's folder."""
    prepare()
    import tyro

    from regvq.errors import CheckpointError, DataError, FeatureError

    kinds = {
        "segmenter": SegmenterRun,
        "attributes": AttributesRun,
        "labels": LabelsRun,
        "words": WordsRun,
    }
    commands = tyro.extras.subcommand_type_from_defaults(
        {name: kind(out=tyro.MISSING) for name, kind in kinds.items()},
        descriptions={name: kind.__doc__ or "" for name, kind in kinds.items()},
        prefix_names=False,
    )
    with one_line_errors(ValueError):  # every setting that is refused is a ValueError
        run = parse_flags(commands, arguments, program=program("judge"), description=__doc__)
    with one_line_errors(UsageError, DataError, CheckpointError, FeatureError):
        check_out(run.out)
        trainers = {
            SegmenterRun: train_segmenter,
            AttributesRun: train_attributes,
            LabelsRun: train_labels,
            WordsRun: train_words,
        }
        bundle = trainers[type(run)](run)
    print(f"the judge is {bundle}")
    return bundle


if __name__ == "__main__":
    main()

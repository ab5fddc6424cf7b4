"""Publish on the Hugging Face Hub: a bundle with its card, or the explorer as a Space.

``python train/publish.py --checkpoint checkpoints/NAME --repo USER/NAME`` lists the files that
would be published, and sends nothing; with ``--no-dry-run`` it publishes them. ``--space``
publishes the explorer with the checkpoints that are named (without names: all of ``checkpoints/``),
and ``--out`` keeps the uploaded folder.
"""

from __future__ import annotations

if not __package__:  # run as a file: python train/publish.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import program
from .cli.errors import UsageError, one_line_errors, parse_flags, prepare


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    prepare()
    from .hub.upload import PublishFlags, publish

    flags = parse_flags(PublishFlags, arguments, program=program("publish"), description=__doc__)
    from regvq.errors import CheckpointError

    with one_line_errors(UsageError, CheckpointError):
        publish(flags)


if __name__ == "__main__":
    main()

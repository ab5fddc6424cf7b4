"""Encode a data set: ``python train/encode.py --checkpoint DIR --data.name NAME --out DIR``.

Writes token shards (core.data.token_shards) for training priors. Started again with the same flags
after an interruption, it resumes; the files are the same as without the interruption.
"""

from __future__ import annotations

if not __package__:  # run as a file: python train/encode.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import program
from .cli.errors import UsageError, one_line_errors, parse_flags
from .cli.files import locked
from .encoding.encode import encode
from .encoding.flags import EncodeFlags
from .recipes.own_file import load_own_file


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    flags = parse_flags(EncodeFlags, arguments, program=program("encode"), description=__doc__)
    from regvq.errors import CheckpointError, DataError

    with one_line_errors(UsageError, CheckpointError, DataError):
        load_own_file(flags.recipe)
        with locked(flags.out):
            header = encode(flags)
    height, width = header["grid"]
    print(
        f"{sum(header['rows']):,} pictures as {height}x{width} tokens each in "
        f"{len(header['rows'])} shards: {flags.out}"
    )
    if header["skipped"]:
        print(f"{header['skipped']} broken pictures were left out")


if __name__ == "__main__":
    main()

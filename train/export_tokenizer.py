"""Export a tokenizer: ``python train/export_tokenizer.py BUNDLE --to FORMAT --out DIR``.

diffusers: a folder that its VQModel loads (networks of the kind "vqgan" with nearest codes). onnx
and torch-export: two programs that need no code of this project, pictures to ids and ids to
pictures, for any batch and size, of any tokenizer.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

with suppress(ImportError):  # without it, ``parse_flags`` says so
    import tyro

if not __package__:  # run as a file: python train/export_tokenizer.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import program
from .cli.errors import one_line_errors, parse_flags


@dataclass(frozen=True)
class ExportFlags:
    """Flags of the command."""

    bundle: tyro.conf.Positional[Path]
    """The tokenizer's bundle, or a run's folder."""
    to: Literal["diffusers", "onnx", "torch-export"]
    """The format."""
    out: Path
    """The folder to write; it must be new or empty."""


def export(flags: ExportFlags) -> str:
    """Write the folder and return a sentence on it. Raises CheckpointError."""
    from regvq.checkpoints import load_tokenizer
    from regvq.errors import CheckpointError
    from regvq.exporting.programs import difference, export_programs
    from regvq.exporting.vqmodel import export_to_diffusers

    tokenizer = load_tokenizer(flags.bundle)
    if flags.to == "diffusers":
        export_to_diffusers(tokenizer, flags.out)
        unit = tokenizer.config.value_range == "unit"
        return f"its pixels are in {'[0, 1]' if unit else '[-1, 1]'} there"
    export_programs(tokenizer, flags.out, flags.to)
    try:
        wrong, apart = difference(tokenizer, flags.out, flags.to)
    except CheckpointError as error:
        return f"it was not compared with the tokenizer ({error})"
    return f"compared on one picture: {wrong} ids differ, pixels by at most {apart:.1e}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    flags = parse_flags(
        ExportFlags, arguments, program=program("export_tokenizer"), description=__doc__
    )
    from regvq.errors import CheckpointError

    with one_line_errors(CheckpointError):
        said = export(flags)
    print(f"{flags.out} holds the tokenizer for {flags.to}; {said}")


if __name__ == "__main__":
    main()

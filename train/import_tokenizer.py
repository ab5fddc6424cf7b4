"""Import a published tokenizer: ``python train/import_tokenizer.py SOURCE --out DIR``.

SOURCE is a weights file (.safetensors, .ckpt, .pt, .pth, .bin) or a folder with one, for example of
a VQModel of diffusers. Nothing in it is executed: pickles are read as data. The result is a bundle
with the original's ids and pictures; docs/importing.md lists the families.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

with suppress(ImportError):  # without it, ``parse_flags`` says so
    import tyro

if not __package__:  # run as a file: python train/import_tokenizer.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import program
from .cli.errors import UsageError, one_line_errors, parse_flags


@dataclass(frozen=True)
class ImportFlags:
    """Flags of the command."""

    source: tyro.conf.Positional[Path]
    """The weights file, or a folder with one (and its config.json)."""
    out: Path
    """The bundle's folder to write; a bundle that is there already is replaced."""
    config: Path | None = None
    """The YAML or JSON that belongs to the weights: it must agree with them. A folder's config.json
    is taken if none is given."""
    value_range: Annotated[Literal["signed", "unit"] | None, tyro.conf.arg(name="range")] = None
    """The values of the tokenizer's pixels: signed, [-1, 1], or unit, [0, 1]; its family's if not
    given."""
    quantizer: Literal["vq", "vq-cosine", "ibq"] | None = None
    """The choice of a code, if weights alone cannot tell it: the nearest, the nearest by cosine, or
    that of the largest dot product (IBQ)."""
    ema: tyro.conf.FlagCreatePairsOff[bool] = False
    """Take averaged weights (EMA), or fail; without this flag they are taken if there are any."""
    no_ema: tyro.conf.FlagCreatePairsOff[bool] = False
    """Take the plain weights where there are averaged ones, too."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    flags = parse_flags(
        ImportFlags, arguments, program=program("import_tokenizer"), description=__doc__
    )
    from regvq.errors import CheckpointError
    from regvq.importing import import_tokenizer

    with one_line_errors(UsageError, CheckpointError):
        if flags.ema and flags.no_ema:
            raise UsageError("--ema and --no-ema exclude each other; give one of them")
        bundle, origin = import_tokenizer(
            flags.source,
            flags.out,
            config=flags.config,
            value_range=flags.value_range,
            quantizer=flags.quantizer,
            ema=True if flags.ema else False if flags.no_ema else None,
        )
    for note in origin["notes"]:
        print(f"note: {note}")
    described = bundle.config["tokenizer"]
    print(
        f"{origin['title']}: {described['quantizer']['size']:,} codes, range "
        f"{origin['value_range']}; the bundle is {bundle.path}"
    )


if __name__ == "__main__":
    main()

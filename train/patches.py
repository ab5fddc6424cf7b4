"""Put real patches into a bundle: ``python train/patches.py --checkpoint DIR --data.name NAME``.

For each code, the explorer then shows pieces of real pictures that it encodes. They are stored in
the bundle's ``atlas.npz`` (1.2 MB at most) and published with it: use pictures whose terms allow
this. Existing patches are replaced. Nothing else of the bundle changes, except its card, which
names the patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: python train/patches.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import evenly_spaced, pick_device, program
from .cli.data import name_for_pictures
from .cli.errors import UsageError, one_line_errors, parse_flags
from .evaluation.flags import DataFlags
from .evaluation.tokenizer import readable
from .recipes.own_file import load_own_file


@dataclass(frozen=True)
class PatchFlags:
    """Flags of the command."""

    checkpoint: Path
    """A bundle of a tokenizer, or a run's folder."""
    data: DataFlags
    source: str | None = None
    """A description of the pictures and their owner, as shown under the patches."""
    per_code: int = 6
    """Largest number of patches per code; fewer if they would take more than 1.2 MB."""
    limit: int = 200
    """Largest number of pictures to search, spread evenly over the data set."""
    recipe: str | None = None
    """The file of a recipe of your own, FILE.py or FILE.py:NAME, which registers the bundle's
    quantizer or the data set."""
    device: str = "auto"
    """Device: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""


def put_patches(flags: PatchFlags) -> dict[str, Any]:
    """Gather patches and write them into the bundle; return their entry of its metrics."""
    from tqdm import tqdm

    from regvq.analysis.real_patches import gather_patches
    from regvq.bundles.bundle import find_bundle
    from regvq.checkpoints import load_tokenizer
    from regvq.data import open_dataset
    from regvq.data.contents import summary

    from .export.figures import publish_patches

    for name in ("limit", "per_code"):
        if getattr(flags, name) < 1:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} must be 1 or more, got {getattr(flags, name)}")
    load_own_file(flags.recipe)
    bundle = find_bundle(flags.checkpoint)
    tokenizer = load_tokenizer(bundle, pick_device(flags.device))
    name = name_for_pictures(flags.data.name, flags.data.root)
    size = {} if flags.data.size is None else {"size": flags.data.size}
    data = open_dataset(
        name, flags.data.root, split=flags.data.split, channels=tokenizer.channels, **size
    )
    print(summary(data, flags.data.split))
    chosen = evenly_spaced(len(data), flags.limit)
    skipped: list[str] = []
    source = flags.source or f"pictures of the data set {name!r}"
    if flags.source is None and name == "scenes":
        source = "scenes drawn by this project"
    with tqdm(total=len(chosen), unit="picture", desc="searching patches") as bar:
        found = gather_patches(
            tokenizer,
            readable(data, chosen, skipped, flags.data.square),
            source=source,
            per_code=flags.per_code,
            progress=lambda done: bar.update(done - bar.n),
        )
    for sentence in skipped:
        print(f"skipped: {sentence}")
    return publish_patches(bundle, tokenizer, found)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    flags = parse_flags(PatchFlags, arguments, program=program("patches"), description=__doc__)
    from regvq.errors import CheckpointError, DataError

    with one_line_errors(UsageError, CheckpointError, DataError, ValueError):
        found = put_patches(flags)
    print(
        f"{found['patches']:,} patches of {found['codes']:,} codes, from {found['pictures']:,} "
        f"pictures ({found['source']}), {found['bytes']:,} bytes, in {flags.checkpoint}"
    )


if __name__ == "__main__":
    main()

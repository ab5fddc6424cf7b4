"""Put real patches into a bundle: ``python train/patches.py --checkpoint DIR --data.name NAME``.

The explorer then shows, for each code, pieces of real pictures that it encodes. They are stored in
the bundle's ``atlas.npz`` (1.2 MB at most) and go wherever it goes: take pictures whose terms allow
publishing them. Patches that were there are replaced; nothing else of the bundle changes, but for
its card, which names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: python train/patches.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import pick_device, spread_over
from .cli.data import name_for_pictures
from .cli.errors import UsageError, one_line_errors, parse_flags
from .evaluate import DataFlags, readable


@dataclass(frozen=True)
class PatchFlags:
    """Flags of the command."""

    checkpoint: Path
    """A bundle of a tokenizer, or a run's folder."""
    data: DataFlags
    source: str | None = None
    """What the pictures are, and whose, as it is shown under their patches."""
    per_code: int = 6
    """Patches a code, at most; fewer where they would take more than 1.2 MB."""
    limit: int = 200
    """Pictures to look at, at most, spread evenly over the data set."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""


def put_patches(flags: PatchFlags) -> dict[str, Any]:
    """Gather the patches and write them into the bundle; returns what its metrics say of them."""
    from tqdm import tqdm

    from regvq.analysis.real_patches import gather_patches
    from regvq.bundles.bundle import find_bundle
    from regvq.checkpoints import load_tokenizer
    from regvq.data import open_dataset

    from .export.figures import publish_patches

    for name in ("limit", "per_code"):
        if getattr(flags, name) < 1:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} must be 1 or more, got {getattr(flags, name)}")
    bundle = find_bundle(flags.checkpoint)
    tokenizer = load_tokenizer(bundle, pick_device(flags.device))
    name = name_for_pictures(flags.data.name, flags.data.root)
    drawn = {} if flags.data.size is None else {"size": flags.data.size}
    data = open_dataset(name, flags.data.root, split=flags.data.split, **drawn)
    chosen = spread_over(len(data), flags.limit)
    skipped: list[str] = []
    words = flags.source or f"pictures of the data set {name!r}"
    if flags.source is None and name == "scenes":
        words = "scenes drawn by this project"
    with tqdm(total=len(chosen), unit="picture", desc="looking for patches") as bar:
        found = gather_patches(
            tokenizer,
            readable(data, chosen, skipped, flags.data.square),
            source=words,
            per_code=flags.per_code,
            progress=lambda done: bar.update(done - bar.n),
        )
    for sentence in skipped:
        print(f"skipped: {sentence}")
    return publish_patches(bundle, tokenizer, found)


def main() -> None:
    """The command."""
    flags = parse_flags(PatchFlags, program="python train/patches.py", description=__doc__)
    from regvq.errors import CheckpointError, DataError

    with one_line_errors(UsageError, CheckpointError, DataError, ValueError):
        told = put_patches(flags)
    print(
        f"{told['patches']:,} patches of {told['codes']:,} codes, from {told['pictures']:,} "
        f"pictures ({told['source']}), {told['bytes']:,} bytes, in {flags.checkpoint}"
    )


if __name__ == "__main__":
    main()

"""A check of a data set on disk: counts, missing and broken files, label values, a contact sheet.

    python -m core.data check NAME --root DIR [--split SPLIT] [--sheet FILE.png] [--limit N]

Exit code 0: no problem found; 1: something is missing or broken, and listed; 2: the root is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..channels import project, projection
from ..errors import DataError, PictureError, printable, tolerant_output
from ..images import shrink, to_pictures
from .contents import headline
from .datasets.parquet import Columns
from .picture_dataset import PictureDataset
from .registry import NAMES, open_dataset
from .sample import SPLITS, Dataset, Sample
from .segmentation import UNLABELED, paint_map, spread_palette

_SHOWN = 5
_TILE, _TEXT, _COLUMNS, _TILES = 128, 14, 4, 24


@dataclass
class Findings:
    """The counts and problems of one split."""

    items: int = 0
    read: int = 0
    captions: int = 0
    without_caption: int = 0
    maps: int = 0
    labeled: int = 0
    label_values: set[int] = field(default_factory=set)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    problems: list[str] = field(default_factory=list)
    tiles: list[Image.Image] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_split(data: Dataset, limit: int | None = None) -> Findings:
    """Read all items of a data set, or `limit` of them spread evenly, and note what is wrong."""
    found = Findings(items=len(data))
    found.problems += [f"{name} is missing." for name in getattr(data, "missing", ())]
    found.problems += [f"{sentence}." for sentence in getattr(data, "skipped", ())]
    chosen = range(len(data))
    if limit is not None and limit < len(data):
        chosen = [i * len(data) // limit for i in range(limit)]
    shown = set(list(chosen)[:: max(1, len(chosen) // _TILES)][:_TILES])
    for index, sample in _samples(data, chosen, found.problems):
        found.read += 1
        captions = sample.captions or (sample.caption,) * bool(sample.caption)
        found.captions += len(captions)
        found.without_caption += not any(caption.strip() for caption in captions)
        found.labeled += sample.label >= 0
        found.label_values.add(sample.label)
        if sample.segmentation is not None:
            found.maps += 1
            found.pixels += np.bincount(sample.segmentation.flatten().numpy(), minlength=256)
        if index in shown:
            found.tiles.append(_tile(sample, getattr(data, "palette", None)))
    if isinstance(data, PictureDataset):
        found.notes += [f"note: {note}" for note in data.left_out()]
        try:
            found.notes += data.notes()
        except DataError as error:
            found.problems.append(str(error))
    if found.captions and found.without_caption:
        found.problems.append(f"{found.without_caption} items have no caption, but others do.")
    if found.labeled not in (0, found.read):
        found.notes.append(f"note: {found.read - found.labeled} items have no label")
    if found.maps not in (0, found.read):
        found.problems.append(f"{found.read - found.maps} items have no map, but others do.")
    names = getattr(data, "labels", ())
    beyond = sorted(value for value in found.label_values if names and value >= len(names))
    if beyond:
        found.problems.append(f"the label {beyond[0]} is outside the {len(names)} classes.")
    return found


def _samples(
    data: Dataset, chosen: Sequence[int], problems: list[str]
) -> Iterator[tuple[int, Sample]]:
    broken = data.broken if isinstance(data, PictureDataset) else {}
    for index in chosen:
        try:
            broken.clear()  # a check lists every broken file; training stops at 1 %
            yield index, data[index]
        except PictureError as error:
            problems.append(str(error))
        except DataError as error:  # more than 1 %: in a small data set, a single file
            problems.append(next(iter(broken.values()), str(error)))


def report(data: Dataset, split: str, found: Findings) -> list[str]:
    """Return the findings as lines to print."""
    published = getattr(data, "counts", {}).get(split)
    whole = f" ({published:,} are published)" if published else ""
    lines = [f"{split}: {found.items:,} items{whole}, {found.read:,} read"]
    if found.captions:
        lines.append(f"  captions: {found.captions:,}, {found.captions / found.read:.1f} per item")
    if found.labeled:
        values = [value for value in found.label_values if value >= 0]
        lines.append(f"  labels: {found.labeled:,} items of {len(values):,} classes")
    if found.maps:
        share = found.pixels / found.pixels.sum()
        names = getattr(data, "classes", ())
        order = [int(c) for c in np.argsort(-share, kind="stable") if share[c] and c != UNLABELED]
        most = ", ".join(
            f"{names[c] if c < len(names) else c} {share[c]:.1%}" for c in order[:_SHOWN]
        )
        lines.append(
            f"  maps: {found.maps:,}, {len(order)} of {len(names) or 255} classes occur, "
            f"{share[UNLABELED]:.1%} unlabeled; most frequent: {most}"
        )
    lines += [f"  {note}" for note in found.notes]
    lines += [f"  ! {problem}" for problem in found.problems[:20]]
    if len(found.problems) > 20:
        lines.append(f"  ! and {len(found.problems) - 20:,} more")
    return lines


def contact_sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    """Return a sheet of the tiles, all of one size, in rows of four."""
    width, height = tiles[0].size
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new("RGB", (min(len(tiles), _COLUMNS) * width, rows * height), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % _COLUMNS * width, index // _COLUMNS * height))
    return sheet


def _tile(sample: Sample, palette: np.ndarray | None) -> Image.Image:
    """Return the picture, its painted map to the right, and the start of its caption below."""
    tile = Image.new("RGB", (2 * _TILE + 8, _TILE + _TEXT + 6), "white")
    seen = project(sample.image, projection(len(sample.image)))
    pictures = to_pictures(seen[None])
    if sample.segmentation is not None:
        ids_HW = sample.segmentation.numpy()
        if palette is None:
            palette = spread_palette(UNLABELED)
        pictures.append(Image.fromarray(paint_map(ids_HW, palette)))
    for place, picture in enumerate(pictures):
        small = (
            shrink(picture, _TILE)
            if place == 0
            else picture.resize(shrink(pictures[0], _TILE).size, Image.Resampling.NEAREST)
        )
        tile.paste(small, (2 + place * (_TILE + 2), 2))
    words = f"{sample.label}: " if sample.label >= 0 else ""
    line = (words + sample.caption)[:44].encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(tile).text((2, _TILE + 4), line, fill="black", font=ImageFont.load_default(10))
    return tile


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m core.data", description="Check a data set on disk."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="read a data set and list what is missing or broken")
    check.add_argument("name", help=", ".join(NAMES))
    check.add_argument("--root", help="the data set's folder (for shards also a pattern)")
    check.add_argument("--split", choices=SPLITS, help="check only this split; default: all splits")
    check.add_argument(
        "--channels", type=int, default=3, help="channels of the pictures of a folder, 1 to 16"
    )
    for kind in ("image", "caption", "label"):
        words = f"for parquet, the column of {kind}s"
        check.add_argument(f"--{kind}-column", help=words)
    check.add_argument("--subset", help="for parquet, the subset of a data set of the Hub")
    check.add_argument("--sheet", type=Path, help="write a contact sheet to this .png or .jpg")
    check.add_argument("--limit", type=int, help="check at most N items per split, spread evenly")
    tolerant_output()  # before the flags: the parser may print one that is not UTF-8
    flags = parser.parse_args(arguments)
    try:
        return _check(flags)
    except (DataError, OSError) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _check(flags: argparse.Namespace) -> int:
    if flags.limit is not None and flags.limit < 1:
        raise DataError(f"--limit must be 1 or more, got {flags.limit}.")
    if flags.sheet is not None and flags.sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"--sheet {flags.sheet} must end in .png or .jpg.")
    splits = [flags.split] if flags.split else list(SPLITS)
    tiles, problems, seen = [], 0, []
    for split in splits:
        named = (flags.image_column, flags.caption_column, flags.label_column, flags.subset)
        data = open_dataset(
            flags.name, flags.root, split=split, channels=flags.channels, columns=Columns(*named)
        )
        if not seen and (about := getattr(data, "about", None)) is not None:
            print(f"{about.what}\nfrom: {about.where}\nterms: {about.terms}\n")
        files = getattr(data, "files", None)
        if files is not None and files in seen:
            print(f"{split}: the same items as a split above")
            continue
        seen.append(files)
        print(headline(data, split), flush=True)
        found = check_split(data, flags.limit)
        print("\n".join(report(data, split, found)), flush=True)
        problems += len(found.problems)
        tiles += found.tiles
    if flags.sheet is not None and tiles:
        flags.sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(tiles).save(flags.sheet)
        print(f"contact sheet: {flags.sheet}")
    return 1 if problems else 0

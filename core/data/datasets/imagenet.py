"""ImageNet-1k (ILSVRC 2012): 1,000 classes of photographs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from .published_layout import (
    MAX_MISSING,
    existing_root,
    first_existing,
    layout_error,
    names_in,
    pictures_in,
    read_lines,
    whole_number,
)

_FOLDER = "n" + 8 * "[0-9]"
_WNID = re.compile(r"n\d{8}$")
_ARCHIVE = re.compile(r"n\d{8}\.tar$")
_LAYOUT = "train/nXXXXXXXX/*.JPEG and val/"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_SOLUTION = "LOC_val_solution.csv"


class ImageNet(PictureDataset):
    """ILSVRC 2012 classification; labels number the classes in the order of their WordNet ids.

    Layouts: `train/nXXXXXXXX/*.JPEG`, and `val/` either sorted into the same folders or flat, as
    its archive extracts (`val/ILSVRC2012_val_00000001.JPEG`, ...). Labels of a flat one come from
    `LOC_val_solution.csv`, or from the development kit (`ILSVRC2012_devkit_t12/data/`: the ground
    truth, and `map_clsloc.txt` or, if scipy is installed, `meta.mat`); without either they are
    -1. The split "test" is also the validation set: the labels of the test set are not published.

    Raises DataError if the root has another layout, or if lists do not match the pictures.
    """

    name = "imagenet"
    about = DatasetInfo(
        what="ImageNet-1k (ILSVRC 2012; Russakovsky et al. 2015): photographs of 1,000 classes",
        where="https://image-net.org/download.php, after registering",
        terms="non-commercial research and education; photographs belong to their owners",
    )
    markers = (
        f"train/{_FOLDER}*",
        f"val/{_FOLDER}",
        "val/ILSVRC2012_val_*",
        "ILSVRC*",
        "Data/CLS-LOC",
        "LOC_*",
        "devkit",
    )
    counts = {"train": 1_281_167, "val": 50_000, "test": 50_000}  # noqa: RUF012

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        base = _base(root)
        self.wnids, names = _wnids(root, base)
        index = {wnid: i for i, wnid in enumerate(self.wnids)}
        folder = base / ("train" if split == "train" else "val")
        if not folder.is_dir():
            raise layout_error(root, self.name, f"{folder.name}/ of the split {split!r}")
        classes, unread = _classes_in(folder), Counter[str]()
        if classes:
            entries, missing = _by_class(folder, classes, index, split == "train", unread)
        elif split == "train":
            raise layout_error(root, self.name, _LAYOUT)
        else:
            entries, missing = _flat(root, folder, index, unread)
        if not entries:
            raise DataError(f"{folder} holds no pictures; extract its archive there.")
        super().__init__(root, entries, missing=missing, unread=unread, **options)
        self.labels = tuple(names.get(wnid, wnid) for wnid in self.wnids)


def _base(root: Path) -> Path:
    for base in (root, root / "ILSVRC" / "Data" / "CLS-LOC", root / "Data" / "CLS-LOC"):
        if (base / "train").is_dir() or (base / "val").is_dir():
            return base
    raise layout_error(root, "imagenet", _LAYOUT)


def _wnids(root: Path, base: Path) -> tuple[list[str], dict[str, str]]:
    """Return all WordNet ids in order, and the names of those that a list names."""
    names: dict[str, str] = {}
    file = first_existing(root / "LOC_synset_mapping.txt", base / "LOC_synset_mapping.txt")
    if file is not None:
        for line in read_lines(file):
            wnid, _, name = line.partition(" ")
            names[wnid] = name.split(",")[0].strip() or wnid
        return sorted(names), names
    found = {
        name for part in ("train", "val") for name in names_in(base / part) if _WNID.match(name)
    }
    devkit = _devkit(root)
    if devkit is not None and len(found) < 1000 and (devkit / "map_clsloc.txt").exists():
        found |= set(_numbered(devkit).values())
    return sorted(found), names


def _classes_in(folder: Path) -> list[str]:
    """Return the names of the class folders.

    Raises DataError for archives of classes that were not extracted.
    """
    names = names_in(folder)
    packed = sorted(name for name in names if _ARCHIVE.match(name) and name[:-4] not in names)
    if packed:
        raise DataError(
            f"{folder} holds {len(packed)} class archives that were not extracted, beginning "
            f"with {packed[0]}; extract each into a folder of its name."
        )
    return sorted(name for name in names if _WNID.match(name))


def _by_class(
    folder: Path,
    classes: list[str],
    index: dict[str, int],
    whole: bool,
    unread: Counter[str],
) -> tuple[list[Entry], list[str]]:
    """Return the pictures of class folders, and what is missing.

    Missing are empty folders and, if `whole`, absent ones. Raises DataError for a class that is not
    in the list of classes, or if over 1 % of the classes are missing.
    """
    strange = next((wnid for wnid in classes if wnid not in index), None)
    if strange is not None:
        raise DataError(
            f"{folder / strange} is a class that is not in LOC_synset_mapping.txt; remove "
            "the folder or the list."
        )
    entries, found = [], set()
    for wnid in classes:
        files = pictures_in(folder / wnid, unread)
        entries += [Entry(path, label=index[wnid]) for path in files]
        found |= {wnid} if files else set()
    expected = index if whole else classes
    missing = [f"{folder.name}/{wnid}/*.JPEG" for wnid in expected if wnid not in found]
    if len(missing) > MAX_MISSING * len(expected):
        raise DataError(
            f"{len(missing)} of the {len(expected)} classes have no pictures in {folder}, "
            f"beginning with {missing[0]}; if an archive was extracted in part, extract it again."
        )
    return entries, missing


def _devkit(root: Path) -> Path | None:
    places = (root, root / "ILSVRC2012_devkit_t12", root / "devkit", root.parent)
    places += (root.parent / "ILSVRC2012_devkit_t12",)
    candidates = [folder for place in places for folder in (place / "data", place)]
    truth = first_existing(*(folder / _TRUTH for folder in candidates))
    return None if truth is None else truth.parent


def _flat(
    root: Path, folder: Path, index: dict[str, int], unread: Counter[str]
) -> tuple[list[Entry], list[str]]:
    files = pictures_in(folder, unread)
    solution = first_existing(root / _SOLUTION, folder.parent / _SOLUTION)
    devkit = _devkit(root)
    if solution is not None:
        rows = (line.partition(",") for line in read_lines(solution)[1:])
        wnid_of = {name: found.split()[0] for name, _, found in rows if found.split()}
        source = solution
    elif devkit is not None:
        source = devkit / _TRUTH
        wnid, order = _numbered(devkit), [whole_number(x, source) for x in read_lines(source)]
        unknown = set(order) - set(wnid)
        if unknown:
            raise DataError(
                f"{source} holds the class number {min(unknown)}, which is not in the list of "
                "classes beside it; take both from the same development kit."
            )
        wnid_of = {f"ILSVRC2012_val_{n:08d}": wnid[x] for n, x in enumerate(order, start=1)}
    else:
        return [Entry(path) for path in files], []
    unlisted = next((path for path in files if path.stem not in wnid_of), None)
    if unlisted is not None:
        raise DataError(f"{source} has no class for {unlisted.name}; give the complete list.")
    strange = next((wnid_of[p.stem] for p in files if wnid_of[p.stem] not in index), None)
    if strange is not None:
        raise DataError(
            f"{source} names the class {strange}, which has neither a training folder in {root} "
            "nor a line in LOC_synset_mapping.txt; extract train/ completely or add that file."
        )
    present = {path.stem for path in files}
    missing = [f"{folder.name}/{name}.JPEG" for name in wnid_of if name not in present]
    if files and len(missing) > MAX_MISSING * len(wnid_of):
        raise DataError(
            f"{len(missing)} of the {len(wnid_of)} pictures that {source.name} lists "
            f"are not in {folder}, beginning with {missing[0]}; extract its archive again."
        )
    return [Entry(path, label=index[wnid_of[path.stem]]) for path in files], missing


def _numbered(devkit: Path) -> dict[int, str]:
    """Return the WordNet id of each ILSVRC2012_ID: the development kit has its own class order."""
    text = devkit / "map_clsloc.txt"
    if text.exists():
        pairs = (line.split() for line in read_lines(text))
        return {whole_number(row[1], text): row[0] for row in pairs if len(row) > 1}
    file = devkit / "meta.mat"
    try:
        from scipy.io import loadmat

        synsets = loadmat(file, squeeze_me=True, struct_as_record=False)["synsets"]
        return {int(x.ILSVRC2012_ID): str(x.WNID) for x in synsets if int(x.num_children) == 0}
    except ImportError:
        raise DataError(
            f"{file} is read with scipy, which is not installed: pip install scipy, or put "
            "map_clsloc.txt or LOC_val_solution.csv there."
        ) from None
    except Exception as error:  # loadmat raises almost anything on a broken file
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise DataError(f"{file} cannot be read ({reason}); extract it again.") from error

"""The base of all data sets of picture files: crops, maps, captions, cache, broken files.

A picture and its semantic map are always turned by EXIF, cropped, resized (LANCZOS, and NEAREST for
the map) and mirrored together, here and nowhere else. A data set in a published layout only says
which files belong together (`Entry`) and, where items are not plain files, how one item is read
(`_load`).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from ..arrays import array_to_tensor
from ..errors import DataError, PictureError, printable
from ..formats import unread_notes
from ..images import open_picture, open_turned
from ..orientation import stored_size
from .crops import ASPECT, crop_box, exchanged, fitted, shrunk
from .sample import Sample
from .segmentation import MapFile, as_classes, place_map, read_map
from .sides import mirrored_captions

MAX_BROKEN = 0.01
_CACHED_SHORT_SIDE = 1024


@dataclass(frozen=True)
class DatasetInfo:
    """The description of a data set, its source, and its terms."""

    what: str
    where: str
    terms: str


@dataclass(frozen=True)
class Entry:
    """The files of one item, and its captions and label from the data set's lists."""

    path: Path
    map: Path | None = None
    captions: tuple[str, ...] = ()
    label: int = -1


class PictureDataset:
    """Pictures, each with its map, captions and label if the data set has them.

    `draw(k)` crops, resizes and flips: the crop's side (root of its area) is drawn
    log-uniformly between `crop_scale` times the picture's short side, but is never under `size`
    pixels if the picture has as many, so that details appear at their size or smaller and are
    never enlarged; the ratio of its sides is log-uniform in [1 / `aspect`, `aspect`], but whole
    squares, `crop_scale` (1, 1), are not stretched. (The idea is Szegedy et al. 2015; no paper
    states these ranges for tokenizers.) Of several captions one is drawn: in a mirrored picture
    one that mentions neither left nor right, or, if all do, one in which the two words are
    exchanged. `items[i]` is the whole i-th item.

    A file that cannot be read is skipped: it is noted in `broken` (path -> sentence) and another
    item takes its place in `draw`. More than 1 % broken files stop the run.

    Args:
        root: the folder relative to which messages show paths.
        entries: the items.
        size: side in pixels of the images that `draw` yields.
        seed: the draws are a function of (seed, k) and of the files.
        crop_scale: smallest and largest side of a crop, as fractions of the short side.
        flip: mirror left and right in half of the draws.
        cache_mb: decoded items (short side at most 1024, or `size` if that is more) are
            kept in memory until they take this many MiB, and none is evicted; each data-loading
            worker process has its own cache.
        missing: files that the data set's lists name and that do not exist.
        skipped: sentences about what else was left out although it belongs to the data set, such
            as "line 3 of captions.jsonl names no split".
        unread: how many files have each suffix of a format of pictures that is not read.
        remarks: sentences about how the data set was understood.

    Raises:
        DataError: a parameter is out of range; later, from `draw` and `[]`: more than 1 % of the
            files are broken.
    """

    name: str = "items"
    about: ClassVar[DatasetInfo]
    classes: tuple[str, ...] = ()
    """Names of the classes of the semantic maps."""
    channels: int = 3
    """C, the channels of the images."""
    aspect: float = ASPECT
    """The largest ratio of the sides of a crop; 1: squares. Set it before the first draw."""
    stretch: bool = False
    """Every item is stretched to the square of its short side as it is read. Set it before the
    first one."""
    value_range: str = "uint8 from 0 to 255"
    """The type of the pixels in the files, and the limits that become -1 and 1."""
    palette: np.ndarray | None = None
    """uint8 (C, 3): the color of each class in painted maps."""
    labels: tuple[str, ...] = ()
    """Names of the labels."""
    lookup: np.ndarray | None = None
    """int16 (256,): class of each value in a map file; 255 = unlabeled, -1 = not allowed."""
    mirrored: tuple[tuple[int, int], ...] = ()
    """Pairs of classes that are exchanged in a mirrored picture."""
    markers: ClassVar[tuple[str, ...]] = ()
    """Patterns of files that the published layout has and a plain folder of pictures has not."""
    counts: ClassVar[dict[str, int]] = {}
    """Published number of items of each split."""

    def __init__(
        self,
        root: str | Path,
        entries: Sequence[Entry],
        *,
        size: int = 64,
        seed: int = 0,
        crop_scale: tuple[float, float] = (0.0, 1.0),
        flip: bool = True,
        cache_mb: float = 1024,
        missing: Sequence[str] = (),
        skipped: Sequence[str] = (),
        unread: Mapping[str, int] | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        if size < 1 or seed < 0 or cache_mb < 0:
            raise DataError(
                f"size must be at least 1, seed and cache_mb at least 0; "
                f"got size={size}, seed={seed}, cache_mb={cache_mb}."
            )
        if not 0 <= crop_scale[0] <= crop_scale[1] <= 1 or crop_scale[1] == 0:
            raise DataError(
                f"crop_scale must be two increasing fractions in [0, 1], got {tuple(crop_scale)}."
            )
        self.root = Path(root)
        self.entries = list(entries)
        self.size = size
        self.seed = seed
        self.crop_scale = crop_scale
        self.flip = flip
        self.cache_mb = cache_mb
        self.missing = tuple(missing)
        self.skipped = tuple(skipped)
        self.unread = Counter(unread or {})
        self.remarks = tuple(remarks)
        self.broken: dict[Path, str] = {}
        self._start_empty()

    def _start_empty(self) -> None:
        self._cache: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self._room = int(self.cache_mb * 2**20)
        self._orders: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    @property
    def files(self) -> list[Path]:
        """The picture files, in order."""
        return [entry.path for entry in self.entries]

    @property
    def place(self) -> str:
        """The place of the items, as messages name it."""
        return str(self.root)

    def captions(self, index: int) -> tuple[str, ...]:
        """Return all captions of an item."""
        return self.entries[index].captions

    def label(self, index: int) -> int:
        """Return the label of an item, or -1."""
        return self.entries[index].label

    def has_map(self, index: int) -> bool:
        """Return True if an item has a semantic map."""
        return self.entries[index].map is not None

    def has_caption(self, index: int) -> bool:
        """Return True if an item has a caption, or a file that may hold one. Nothing is read."""
        return bool(self.entries[index].captions)

    def has_label(self, index: int) -> bool:
        """Return True if an item has a label, or a file that may hold one. Nothing is read."""
        return self.entries[index].label >= 0

    def parts(self) -> tuple[bool, bool, bool]:
        """Return True for each of captions, maps and labels that any item has."""
        rows = range(len(self))
        return (
            any(map(self.has_caption, rows)),
            any(map(self.has_map, rows)),
            any(map(self.has_label, rows)),
        )

    def manifest(self) -> Iterator[str]:
        """Yield a line for each item: the names and sizes of its files, its label and captions."""
        for entry in self.entries:
            files = (entry.path,) if entry.map is None else (entry.path, entry.map)
            named = [_name_and_size(file, self.root) for file in files]
            yield json.dumps([*named, entry.label, *entry.captions])

    def left_out(self) -> list[str]:
        """Return notes on the files that are not read, and on how the data set was understood."""
        return [*unread_notes(self.unread), *self.remarks]

    def notes(self) -> list[str]:
        """Return lines that a check adds for this data set alone. Raises DataError."""
        return []

    def _load(self, index: int) -> tuple[Image.Image, np.ndarray | None]:
        """Return the RGB picture and, if there is one, its map as uint8 (H, W) class ids.

        Raises PictureError if a file is broken.
        """
        entry = self.entries[index]
        if entry.map is None:
            return open_picture(entry.path, name=self._shown(entry.path)), None
        picture, orientation = open_turned(entry.path, name=self._shown(entry.path))
        name = self._shown(entry.map)
        return picture, self._on(picture, orientation, read_map(entry.map, name=name), name)

    def _on(self, picture: Image.Image, orientation: int, found: MapFile, name: str) -> np.ndarray:
        """Return the class ids of a map, uint8 (H, W), as they lie on its upright picture."""
        upright = picture.size
        placed = place_map(found, stored_size(upright, orientation), upright, orientation)
        return as_classes(placed.values, len(self.classes), self.lookup, name, placed.other)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the pixels (H, W, C), as `core.arrays.read_array` has them, and the map."""
        picture, ids_HW = self._load(index)
        pixels_HWC = np.asarray(picture)
        if ids_HW is not None and ids_HW.shape != pixels_HWC.shape[:2]:
            (tall, wide), (height, width) = pixels_HWC.shape[:2], ids_HW.shape
            raise PictureError(
                f"{self._shown(self.entries[index].path)} is {wide}x{tall} "
                f"pixels but its map is {width}x{height}; use the map that belongs to the picture."
            )
        return pixels_HWC, ids_HW

    def _whole(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the pixels (H, W, C) and the map of `_read`, squares if they are stretched."""
        pixels_HWC, ids_HW = self._read(index)
        if self.stretch:
            side = min(pixels_HWC.shape[:2])
            pixels_HWC = fitted(pixels_HWC, side, Image.Resampling.LANCZOS)
            ids_HW = None if ids_HW is None else fitted(ids_HW, side, Image.Resampling.NEAREST)
        return pixels_HWC, ids_HW

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        """Return the whole item at its own size.

        Raises PictureError if it is broken, and notes the file.
        """
        path = self.entries[index].path
        try:
            pixels_HWC, ids_HW = self._whole(index)
            captions = self.captions(index)
        except PictureError as error:
            self.note_broken(path, str(error))
            raise
        caption = captions[0] if captions else ""
        image = array_to_tensor(pixels_HWC)
        return Sample(image, caption, _tensor(ids_HW), self.label(index), captions)

    def __iter__(self) -> Iterator[Sample]:
        """Yield all whole items in order; broken ones are noted and left out."""
        for index in range(len(self)):
            try:
                yield self[index]
            except PictureError:
                continue

    def draw(self, k: int) -> Sample:
        """Return the k-th training draw: image (C, size, size); a pure function of (seed, k)."""
        if k < 0:
            raise IndexError(f"draws count from 0, got {k}.")
        epoch, position = divmod(k, len(self.entries))
        rng = np.random.default_rng((self.seed, k))
        index = int(self._order(epoch)[position])
        found = self._item(index)
        while found is None:  # ends: `note_broken` raises long before all are broken
            index = int(rng.integers(len(self.entries)))
            found = self._item(index)
        pixels_HWC, ids_HW = found
        height, width = pixels_HWC.shape[:2]
        top, left, height, width = crop_box(
            height, width, self.size, self.crop_scale, rng, self.aspect
        )
        captions = self.captions(index)
        flipped = self.flip and rng.random() < 0.5
        if flipped:
            captions = mirrored_captions(captions)
        box = (slice(top, top + height), slice(left, left + width))
        pixels_HWC = fitted(pixels_HWC[box], self.size, Image.Resampling.LANCZOS)
        if ids_HW is not None:
            ids_HW = fitted(ids_HW[box], self.size, Image.Resampling.NEAREST)
        if flipped:
            pixels_HWC = pixels_HWC[:, ::-1]
            ids_HW = None if ids_HW is None else exchanged(self.mirrored)[ids_HW[:, ::-1]]
        caption = captions[int(rng.integers(len(captions)))] if captions else ""
        image = array_to_tensor(pixels_HWC)
        return Sample(image, caption, _tensor(ids_HW), self.label(index), captions)

    def _order(self, epoch: int) -> np.ndarray:
        order = self._orders.get(epoch)
        if order is None:
            # The third number separates this stream from those of the crops, which are (seed, k).
            order = self._permutation(np.random.default_rng((self.seed, epoch, 1)))
            with self._lock:
                while len(self._orders) > 3:  # workers may already draw from the next epoch
                    self._orders.pop(next(iter(self._orders)))
                self._orders[epoch] = order
        return order

    def _permutation(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(len(self.entries))

    def _item(self, index: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Return the picture (H, W, C), uint8 if it is RGB, and its map, or None if it is broken.

        Items are kept in the cache as long as there is room.
        """
        found = self._cache.get(index)
        if found is not None:
            return found
        path = self.entries[index].path
        if path in self.broken:
            return None
        try:
            pixels_HWC, ids_HW = self._whole(index)
        except PictureError as error:
            self.note_broken(path, str(error))
            return None
        bound = max(_CACHED_SHORT_SIDE, self.size)
        smaller = shrunk(pixels_HWC, bound)
        if ids_HW is not None and smaller is not pixels_HWC:
            size = smaller.shape[1::-1]
            ids_HW = np.asarray(Image.fromarray(ids_HW).resize(size, Image.Resampling.NEAREST))
        found = (smaller, ids_HW)
        cost = sum(array.nbytes for array in found if array is not None)
        with self._lock:
            if index not in self._cache and cost <= self._room:
                self._cache[index] = found
                self._room -= cost
        return found

    def note_broken(self, path: Path, message: str) -> None:
        """Note a file in `broken` and raise DataError if there are too many.

        Copies in worker processes know only the files that they met themselves; whoever loads with
        several workers passes their findings to the original here.
        """
        with self._lock:
            self.broken[path] = message
            broken = list(self.broken)
        if len(broken) > MAX_BROKEN * len(self.entries):
            first = ", ".join(self._shown(path) for path in broken[:3])
            raise DataError(
                f"{len(broken)} of the {len(self.entries)} files in {self.place} cannot be read, "
                f"but at most {MAX_BROKEN:.0%} may be skipped; repair or remove them, beginning "
                f"with {first} ({message.rstrip('.')})."
            )

    def _shown(self, path: Path) -> str:
        return shown_path(path, self.root)

    def __getstate__(self) -> dict:
        # For worker processes: a lock cannot be pickled, and copying the cache costs more than
        # decoding again.
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_cache", "_orders")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start_empty()


def _name_and_size(file: Path, root: Path) -> str:
    try:
        size = file.stat().st_size
    except OSError:  # reading it notes that it is broken
        size = -1
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
    return f"{name} {size}"


def shown_path(path: Path, root: Path) -> str:
    """Return a path as messages show it: printable, and relative to `root` if it is below."""
    return printable(path.relative_to(root).as_posix() if path.is_relative_to(root) else path)


def _tensor(ids_HW: np.ndarray | None) -> torch.Tensor | None:
    return None if ids_HW is None else torch.from_numpy(ids_HW.astype(np.int64))

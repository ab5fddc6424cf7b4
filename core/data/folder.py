"""Any folder of pictures as a data set: random resized crops for training, whole for evaluation."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from core.data import DataError, Sample
from core.images import PictureError, list_pictures, open_picture, shrink, to_tensor

MAX_BROKEN = 0.01
_CACHED_SHORT_SIDE = 1024
_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing"),
    "test": ("test", "testing", "val", "valid", "validation"),
}


class PictureFolder:
    """All pictures under a folder, whatever its layout; no captions, maps or labels.

    `draw(k)` crops, resizes and flips: the crop's side (root of its area) is drawn
    log-uniformly between `crop_scale` times the picture's short side, but never under `size`
    pixels as long as the picture has them, so that details are seen shrunk or as they are and
    not blown up; its aspect is log-uniform in [3/4, 4/3]. (The idea is Szegedy et al. 2015; no
    paper states these ranges for tokenizers.) `folder[i]` is the whole i-th picture.

    A file that cannot be read is skipped: it is noted in `broken` (path -> sentence) and another
    picture takes its place in `draw`. More than 1 % broken files stop the run.

    Args:
        root: the folder; subfolders are searched too.
        size: side in pixels of what `draw` yields.
        seed: the draws are a function of (seed, k) and of the files.
        crop_scale: smallest and largest side of a crop, as fractions of the short side.
        flip: mirror left and right in half of the draws.
        cache_mb: decoded pictures (short side at most 1024, or `size` where that is more) are
            kept in memory up to so many MiB, first come first kept; a data-loading worker process
            has a cache of its own.

    Raises:
        DataError: root is missing, not a folder, or without pictures; a parameter is out of range;
            later, from `draw` and `[]`: more than 1 % of the files are broken.
    """

    name = "folder"

    def __init__(
        self,
        root: str | Path,
        size: int = 64,
        seed: int = 0,
        crop_scale: tuple[float, float] = (0.0, 1.0),
        flip: bool = True,
        cache_mb: float = 1024,
    ) -> None:
        if size < 1 or seed < 0 or cache_mb < 0:
            raise DataError(
                f"size must be at least 1, seed and cache_mb at least 0; "
                f"got size={size}, seed={seed}, cache_mb={cache_mb}."
            )
        if not 0 <= crop_scale[0] <= crop_scale[1] <= 1 or crop_scale[1] == 0:
            raise DataError(
                f"crop_scale must be two rising fractions in [0, 1], got {tuple(crop_scale)}."
            )
        self.root = Path(root)
        self.size = size
        self.seed = seed
        self.crop_scale = crop_scale
        self.flip = flip
        self.broken: dict[Path, str] = {}
        try:
            self.files = list_pictures(self.root)
        except PictureError as error:
            raise DataError(str(error)) from error
        if not self.files:
            raise DataError(
                f"{self.root} holds no pictures (by suffix: .jpg, .png, .webp, ...); "
                "give a folder that does."
            )
        self.cache_mb = cache_mb
        self._start_empty()

    def _start_empty(self) -> None:
        self._cache: dict[int, np.ndarray] = {}
        self._room = int(self.cache_mb * 2**20)
        self._orders: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """The whole picture at its own size; raises PictureError (and notes it) when broken."""
        path = self.files[index]
        try:
            return Sample(to_tensor(open_picture(path, name=self._shown(path))))
        except PictureError as error:
            self.note_broken(path, str(error))
            raise

    def __iter__(self) -> Iterator[Sample]:
        """All whole pictures in order; broken ones are noted and left out."""
        for index in range(len(self)):
            try:
                yield self[index]
            except PictureError:
                continue

    def draw(self, k: int) -> Sample:
        """The k-th training draw: image (3, size, size); a pure function of (seed, k)."""
        if k < 0:
            raise IndexError(f"draws count from 0, got {k}.")
        epoch, position = divmod(k, len(self.files))
        rng = np.random.default_rng((self.seed, k))
        pixels_HW3 = self._pixels(int(self._order(epoch)[position]))
        while pixels_HW3 is None:  # ends: `note_broken` stops long before all are broken
            pixels_HW3 = self._pixels(int(rng.integers(len(self.files))))
        return Sample(to_tensor(self._crop(pixels_HW3, rng)))

    def _crop(self, pixels_HW3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = pixels_HW3.shape[:2]
        top, left, crop_height, crop_width = self._box(height, width, rng)
        crop = pixels_HW3[top : top + crop_height, left : left + crop_width]
        picture = Image.fromarray(np.ascontiguousarray(crop)).resize(
            (self.size, self.size), Image.Resampling.LANCZOS, reducing_gap=3.0
        )
        crop = np.asarray(picture)
        return crop[:, ::-1] if self.flip and rng.random() < 0.5 else crop

    def _box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        short = min(height, width)
        floor = min(self.size, short)
        low, high = (max(floor, scale * short) for scale in self.crop_scale)
        side = math.exp(rng.uniform(math.log(low), math.log(high)))
        stretch = math.exp(rng.uniform(-1, 1) * math.log(4 / 3) / 2)  # root of the aspect
        # Clamping moves either side towards the square, so the aspect stays within its bounds.
        crop_width = min(max(round(side * stretch), floor), width)
        crop_height = min(max(round(side / stretch), floor), height)
        left = int(rng.integers(width - crop_width + 1))
        top = int(rng.integers(height - crop_height + 1))
        return top, left, crop_height, crop_width

    def _order(self, epoch: int) -> np.ndarray:
        order = self._orders.get(epoch)
        if order is None:
            # The third number keeps this stream apart from the crops', which are (seed, k).
            order = np.random.default_rng((self.seed, epoch, 1)).permutation(len(self.files))
            with self._lock:
                while len(self._orders) > 3:  # workers run ahead over an epoch's end
                    self._orders.pop(next(iter(self._orders)))
                self._orders[epoch] = order
        return order

    def _pixels(self, index: int) -> np.ndarray | None:
        """Picture as uint8 (H, W, 3), from the cache where it is; None when broken."""
        pixels_HW3 = self._cache.get(index)
        if pixels_HW3 is not None:
            return pixels_HW3
        path = self.files[index]
        if path in self.broken:
            return None
        try:
            picture = open_picture(path, name=self._shown(path))
        except PictureError as error:
            self.note_broken(path, str(error))
            return None
        bound = max(_CACHED_SHORT_SIDE, self.size)
        if min(picture.size) > bound:
            picture = shrink(picture, round(max(picture.size) * bound / min(picture.size)))
        pixels_HW3 = np.asarray(picture)
        with self._lock:
            if index not in self._cache and pixels_HW3.nbytes <= self._room:
                self._cache[index] = pixels_HW3
                self._room -= pixels_HW3.nbytes
        return pixels_HW3

    def note_broken(self, path: Path, message: str) -> None:
        """Note a file in `broken` and raise DataError when there are too many.

        Copies in worker processes know only of what they met themselves: whoever loads with
        several hands their findings to the original here.
        """
        with self._lock:
            self.broken[path] = message
            broken = list(self.broken)
        if len(broken) > MAX_BROKEN * len(self.files):
            first = ", ".join(self._shown(path) for path in broken[:3])
            raise DataError(
                f"{len(broken)} of the {len(self.files)} files in {self.root} cannot be read and "
                f"at most {MAX_BROKEN:.0%} is skipped; repair or remove them, beginning with "
                f"{first} ({message.rstrip('.')})."
            )

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def __getstate__(self) -> dict:
        # Sent to a worker process: a lock cannot go, and the cache would cost more than decoding.
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_cache", "_orders")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start_empty()


def split_folder(root: str | Path, split: str) -> Path:
    """The subfolder of `root` that holds a split, or `root` where it is not laid out in splits.

    Laid out in splits means: a folder for training beside one for validation or test. (One
    called "train" alone may as well be the class of the trains.) "val" and "test" stand in for
    each other where only one of them is there.
    """
    root = Path(root)
    found = {
        known: next((root / name for name in names if (root / name).is_dir()), None)
        for known, names in _SPLIT_FOLDERS.items()
    }
    return found[split] if all(found.values()) else root

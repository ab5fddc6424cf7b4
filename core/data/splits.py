"""The words for splits: one table for the names of folders and shards, and for the lines of lists.

A word that is not in the table must never put a held-out picture into training unseen: a list that
names one is refused, and folders and shards of other names beside those of splits are reported.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from ..errors import DataError

SPLITS = ("train", "val", "test")
WORDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "trainval", "restval"),
    "val": ("val", "validation", "valid", "validate", "dev", "devel", "development", "eval",
            "evaluation", "minival"),
    "test": ("test", "testing", "tst", "heldout", "holdout"),
}  # fmt: skip
"""The words of each split, in lower case. Published sets use "restval" (Karpathy's COCO) and
"trainval" (VOC) for training."""
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
# Words that may stand beside a split's word in the name of a folder: "train_images", "test set".
_BESIDE = frozenset(
    {"set", "split", "part", "subset", "data", "dataset", "image", "images", "img", "imgs"}
    | {"picture", "pictures", "photo", "photos", "jpg", "jpeg", "png"}
)
_HELD = re.compile(r"(?i)\b(held|hold)[\W_]?out\b")


def split_of_word(word: object) -> str | None:
    """Return the split that a word names in any case, or None."""
    if not isinstance(word, str):
        return None
    return _SPLIT_OF.get(re.sub(r"[\s_-]+", "", word.casefold()))


def split_of_name(name: str) -> str | None:
    """Return the split that the whole name of a folder says, such as "Train" or "val2017_images".

    A name with other words, such as "train station", is none. So is one with two splits.
    """
    words = _words_of(name)
    splits = {_SPLIT_OF.get(word) for word in words if word not in _BESIDE}
    return splits.pop() if len(splits) == 1 else None


def split_inside(name: str) -> str | None:
    """Return the split of the first word of a name that names one, such as "coco-train-000"."""
    return next((_SPLIT_OF[word] for word in _words_of(name) if word in _SPLIT_OF), None)


def served_by(split: str, known: Container[str]) -> str | None:
    """Return the split that serves as ``split``, of those that a data set has; None if none does.

    If only one of "val" and "test" exists, it serves as both.
    """
    others = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}[split]
    return next((each for each in others if each in known), None)


def are_splits(known: Iterable[str | None]) -> bool:
    """Return True if there is a split for training beside one that is held out."""
    found = set(known)
    return "train" in found and bool({"val", "test"} & found)


def unknown_word(place: str, word: object) -> DataError:
    """Return the error for a word that names no split."""
    known = "; ".join(f"{split}: {', '.join(words)}" for split, words in WORDS.items())
    return DataError(
        f"{place} names the split {word!r}, which is unknown; known in any case are {known}."
    )


def _words_of(name: str) -> list[str]:
    name = _HELD.sub("heldout", name.replace("_", " "))
    # "trainSet" and "train2017" are two words each, "TRAIN" is one.
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W\d_]+", spaced.casefold())
    return [part for word in words for part in _parted(word)]


def _parted(word: str) -> tuple[str, ...]:
    """Return "trainset" as "train" and "set", other words as they are."""
    for tail in ("set", "data", "images", "split"):
        if word.endswith(tail) and word.removesuffix(tail) in _SPLIT_OF:
            return word.removesuffix(tail), tail
    return (word,)

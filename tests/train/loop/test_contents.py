"""The identity of a run's pictures: names and sizes, not places."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from train.loop import contents
from train.loop.contents import difference, pictures_identity


def entry(path: Path, map_file: Path | None = None) -> SimpleNamespace:
    return SimpleNamespace(path=path, map=map_file)


class Pictures(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.entries)


def files(root: Path, sizes: dict[str, int]) -> list[Path]:
    for name, size in sizes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(size))
    return [root / name for name in sizes]


def digest(*lines: str) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_names_below_the_folder_and_sizes(tmp_path: Path) -> None:
    first, second, plan = files(tmp_path, {"a/1.png": 10, "2.png": 20, "a/1.map": 3})
    data = Pictures(root=tmp_path, entries=[entry(first, plan), entry(second)])
    assert pictures_identity(data) == {"pictures": 2, "sha256": digest("a/1.png 10 3", "2.png 20")}


def test_without_a_folder_names_are_whole(tmp_path: Path) -> None:
    (picture,) = files(tmp_path, {"2.png": 20})
    data = Pictures(entries=[entry(picture)])
    assert pictures_identity(data) == {"pictures": 1, "sha256": digest(f"{picture} 20")}


def test_data_sets_without_files_have_a_number_only() -> None:
    class Drawn:
        def __len__(self) -> int:
            return 7

    assert pictures_identity(Drawn()) == {"pictures": 7}
    assert pictures_identity(Pictures(entries=[])) == {"pictures": 0}


def test_of_many_pictures_a_share_is_sized(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(contents, "SIZED", 3)
    made = files(tmp_path, {f"{i}.png": 5 + i for i in range(9)})
    data = Pictures(root=tmp_path, entries=[entry(path) for path in made])
    asked: list[str] = []
    stat: Callable = os.stat

    def noted(place: Any, *rest: Any, **more: Any) -> os.stat_result:
        asked.append(Path(place).name)
        return stat(place, *rest, **more)

    monkeypatch.setattr(contents.os, "stat", noted)
    found = pictures_identity(data)
    sized = {name for name in asked if name.endswith(".png")}
    assert len(sized) == 3
    lines = [f"{i}.png {5 + i}" if f"{i}.png" in sized else f"{i}.png" for i in range(9)]
    assert found == {"pictures": 9, "sha256": digest(*lines)}


def test_members_of_archives_and_addresses(tmp_path: Path) -> None:
    """A member has its shard's size, which is a file among its parents; an address has none."""
    (shard,) = files(tmp_path, {"shard-0.tar": 70})
    data = Pictures(
        root=tmp_path, entries=[entry(shard / "inside" / "1.png"), entry(tmp_path / "no" / "2.png")]
    )
    assert pictures_identity(data)["sha256"] == digest("shard-0.tar/inside/1.png 70", "no/2.png 0")


def test_names_that_are_no_text_are_counted_too(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (picture,) = files(tmp_path, {name: 4})
    wanted = hashlib.sha256(b"caf\xe9.png 4").hexdigest()
    data = Pictures(root=tmp_path, entries=[entry(picture)])
    assert pictures_identity(data)["sha256"] == wanted


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"pictures": 3}, {"pictures": 3}, None),
        ({"pictures": 3}, {"pictures": 4}, "holds 4 pictures, but the run was started with 3"),
        ({"pictures": 3, "sha256": "a"}, {"pictures": 3, "sha256": "b"},
         "holds 3 pictures, but other ones (names or sizes) than those of the start"),
    ],
)  # fmt: skip
def test_the_difference_is_said(before: dict, now: dict, words: str | None) -> None:
    assert difference(before, now) == words

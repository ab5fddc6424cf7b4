"""Tar shards: their items, the order of draws, and the errors they raise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.data import has_held_out, open_dataset
from core.data.shards.dataset import TarShards
from core.data.shards.files import _headers
from core.data.shards.tar import expand_braces
from core.errors import DataError
from tests.core.data.datasets.test_published import refusal, shows
from tests.helpers import published_layouts as made


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return made.shards(tmp_path / "shards")


def test_items(shards: Path) -> None:
    data = open_dataset("shards", shards)
    assert len(data) == 10
    for index in range(10):
        sample = data[index]
        assert shows(sample, index) and sample.label == index
        assert sample.captions == (f"number {index}",)
        assert (sample.segmentation[:, :12] == index).all()
        assert (sample.segmentation[:, 12:] == 255).all()
    val = open_dataset("shards", shards, split="val")
    assert [val.label(i) for i in range(len(val))] == [10, 11]


def test_json_and_folders(tmp_path: Path) -> None:
    facts = b'{"captions": ["one", "two"], "label": 3}'
    picture = made.encoded(made.picture(0), "JPEG")
    made.tar(
        tmp_path / "a.tar",
        [("x/1.jpg", picture), ("y/1.json", facts), ("y/1.jpg", picture), ("y/notes.txt", b"no")],
    )
    data = open_dataset("shards", tmp_path / "a.tar")
    assert [data[i].captions for i in range(2)] == [(), ("one", "two")]
    assert [data[i].label for i in range(2)] == [-1, 3]
    assert not has_held_out("shards", tmp_path)


def test_an_epoch_goes_through_one_shard_after_the_other(shards: Path) -> None:
    data = open_dataset("shards", shards, size=8, seed=5)
    orders = []
    for epoch in range(6):
        labels = [data.draw(10 * epoch + i).label for i in range(10)]
        assert sorted(labels) == list(range(10))
        assert {label // 5 for label in labels[:5]} in ({0}, {1})
        assert len({label // 5 for label in labels[:5]}) == 1
        orders.append(tuple(labels))
    assert len(set(orders)) == 6 and {order[0] // 5 for order in orders} == {0, 1}
    again = open_dataset("shards", shards, size=8, seed=5)
    assert [again.draw(k).label for k in reversed(range(60))] == [
        label for order in reversed(orders) for label in reversed(order)
    ]


def test_headers_are_read_once(shards: Path) -> None:
    _headers.cache_clear()
    for _ in range(3):
        open_dataset("shards", shards)
    assert _headers.cache_info().misses == 2


def test_patterns(shards: Path) -> None:
    assert expand_braces("a-{08..10}{x,y}.tar") == [
        f"a-{n}{letter}.tar" for n in ("08", "09", "10") for letter in "xy"
    ]
    assert expand_braces("d/{a-{08..10},b{,c}}-{0..1}.tar") == [
        f"d/{name}-{n}.tar" for name in ("a-08", "a-09", "a-10", "b", "bc") for n in (0, 1)
    ]
    for plain in ("a.tar", "a}b", "a{b,c", "a,b", "}{", ""):
        assert expand_braces(plain) == [plain]
    assert expand_braces("{2..1}.tar") == []
    for pattern, count in (("train-{000..001}.tar", 10), ("*-000.tar", 5), ("val-000.tar", 2)):
        assert len(TarShards(shards / pattern)) == count
    message = refusal("shards", shards / "train-{000..002}.tar")
    assert "train-002.tar does not exist" in message


@pytest.mark.parametrize("left", [100, 512 + 200, 512 * 9 + 10, "members", "archive"])
def test_a_truncated_shard_is_refused(shards: Path, left: int | str) -> None:
    file = shards / "train-001.tar"
    data = file.read_bytes()
    if left == "members":  # cut between two members: only the end mark is missing
        last = max(i for i in range(0, len(data), 512) if any(data[i : i + 512]))
        left = last + 512
    elif left == "archive":
        left = len(data) // 2
    file.write_bytes(data[:left])
    assert "train-001.tar" in refusal("shards", shards)


def test_files_that_are_not_shards_are_refused(tmp_path: Path) -> None:
    assert "no tar shards" in refusal("shards", tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    assert "compressed" in refusal("shards", tmp_path)
    (tmp_path / "b.tar").write_bytes(np.random.default_rng(0).bytes(4096))
    assert "b.tar is not a tar file" in refusal("shards", tmp_path)
    made.tar(tmp_path / "b.tar", [("a.txt", b"text")])
    assert "b.tar holds no pictures" in refusal("shards", tmp_path)
    (tmp_path / "b.tar").write_bytes(b"")
    assert "b.tar" in refusal("shards", tmp_path)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("1.json", b"{"), "1.json is not valid JSON"),
        (("1.json", b'{"caption": 5}'), "captions that are not texts"),
        (("1.cls", b"cat"), "not a whole number"),
        (("1.seg.png", b"nothing"), "the map of a.tar/1.png is broken"),
        (("1.png", b"nothing"), "a.tar/1.png is not a picture"),
    ],
)
def test_a_broken_member_breaks_its_item(
    tmp_path: Path, member: tuple[str, bytes], words: str
) -> None:
    made.tar(tmp_path / "a.tar", [("1.png", made.encoded(made.picture(0))), member])
    data = TarShards(tmp_path, size=8)
    with pytest.raises(DataError) as caught:
        data.draw(0)
    assert words in str(caught.value)

"""Tars of the package webdataset: its writer's files, read as its reader reads them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.data import open_dataset
from core.data.shards import TarShards
from core.data.shards.tar import expand_braces
from core.errors import DataError
from tests.core.data.datasets.test_published import shows
from tests.helpers import published_layouts as made

wds = pytest.importorskip("webdataset")
braceexpand = pytest.importorskip("braceexpand").braceexpand


def read(*files: Path) -> list[dict[str, Any]]:
    """Return the samples of tars as webdataset groups them, their bytes as they are."""
    found = wds.WebDataset([str(file) for file in files], shardshuffle=False, empty_check=False)
    return list(found)


def ours(data: TarShards) -> list[dict[str, Any]]:
    """Return the items of shards as webdataset has them: the key, and the bytes by extension."""
    items = []
    for number, (first, last) in enumerate(data._spans):
        top = data._shards[number].path
        for index in range(first, last):
            key = data.entries[index].path.with_suffix("").relative_to(top).as_posix()
            found = {x[1:]: data._bytes(index, x) for x in data._members[index]}
            items.append({"__key__": key, **found})
    return items


def plain(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    left_out = ("__url__", "__local_path__")
    return [{k: v for k, v in sample.items() if k not in left_out} for sample in samples]


def test_items_of_its_writer(tmp_path: Path) -> None:
    """jpg, png and webp with cls, txt and json; keys with folders; several shards by braces."""
    kinds = ("jpg", "png", "webp")
    with wds.ShardWriter(str(tmp_path / "set-%03d.tar"), maxcount=5, verbose=0) as writer:
        for number in range(12):
            kind = kinds[number % 3]
            buffer = io.BytesIO()
            made.picture(number).save(buffer, {"jpg": "JPEG"}.get(kind, kind.upper()), quality=95)
            sample: dict[str, Any] = {"__key__": f"deep/folder-{number % 2}/{number:04d}"}
            sample |= {kind: buffer.getvalue(), "cls": number, "txt": f"number {number}"}
            if number % 2:
                sample |= {"json": {"label": 99, "caption": "not this", "more": [number]}}
            writer.write(sample)
    data = TarShards(tmp_path / "set-{000..002}.tar")
    assert len(data) == 12
    for number in range(12):
        item = data[number]
        assert shows(item, number) and item.label == number
        assert item.captions == (f"number {number}",)
    files = sorted(tmp_path.glob("*.tar"))
    assert len(files) == 3
    assert plain(read(*files)) == ours(data)


def test_its_json_alone(tmp_path: Path) -> None:
    with wds.TarWriter(str(tmp_path / "a.tar")) as writer:
        picture = made.encoded(made.picture(0), "JPEG")
        facts = {"captions": ["one", "two"], "label": 3}
        writer.write({"__key__": "a", "jpg": picture, "json": facts})
    data = open_dataset("shards", tmp_path)
    assert (data[0].captions, data[0].label) == (("one", "two"), 3)
    (theirs,) = wds.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode()
    assert theirs["json"] == facts


def test_what_it_leaves_out(tmp_path: Path) -> None:
    """Files of the system and of a tar's own description; capitals and `./` are no difference."""
    picture = made.encoded(made.picture(0))
    made.tar(
        tmp_path / "a.tar",
        [("__MACOSX__/1.png", picture), ("__info__", b"{}"), ("./b/1.PNG", picture),
         ("./b/1.Cls", b"4"), ("noextension", b"x"), ("2.png", picture)],
    )  # fmt: skip
    data = TarShards(tmp_path)
    theirs = plain(read(tmp_path / "a.tar"))
    for sample in theirs:
        sample["__key__"] = sample["__key__"].removeprefix("./")
    assert theirs == ours(data) and [data.label(k) for k in range(2)] == [4, -1]


def test_names_with_dots_are_the_difference(tmp_path: Path) -> None:
    """Two pictures are two items here; webdataset cuts at the first dot and has one of each."""
    picture = made.encoded(made.picture(0))
    made.tar(tmp_path / "a.tar", [("shot 10.41.png", picture), ("shot 10.42.png", picture)])
    assert [sample["__key__"] for sample in read(tmp_path / "a.tar")] == ["shot 10"]
    assert len(TarShards(tmp_path)) == 2


def test_a_map_is_its_field_seg_png(tmp_path: Path) -> None:
    ids = made.halves(3, 255)
    file = io.BytesIO()
    Image.fromarray(ids).save(file, "PNG")
    with wds.TarWriter(str(tmp_path / "a.tar")) as writer:
        picture = made.encoded(made.picture(0))
        writer.write({"__key__": "x/0001", "png": picture, "seg.png": file.getvalue()})
    data = TarShards(tmp_path)
    assert (data[0].segmentation.numpy() == ids).all()
    assert plain(read(tmp_path / "a.tar")) == ours(data)


def test_compressed_shards_are_refused_by_name(tmp_path: Path) -> None:
    """webdataset reads them from the first byte on; single pictures cannot be."""
    picture = made.encoded(made.picture(0))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        facts = tarfile.TarInfo("0.png")
        facts.size = len(picture)
        archive.addfile(facts, io.BytesIO(picture))
    assert len(read(tmp_path / "a.tar.gz")) == 1
    with pytest.raises(DataError, match=r"are compressed: unpack them to \.tar\."):
        TarShards(tmp_path)


@pytest.mark.parametrize(
    "pattern",
    [
        "a-{000..012}.tar", "{8..12}", "{08..12}", "{1..003}", "{000..1}{x,y}", "{a..e}/{0..1}",
        "{A..C}", "{a,b{1,2},c}", "{one}", "{{a,b}}", "no", "{a,}", "s3://b/{x,y}-{00..02}.tar",
    ],
)  # fmt: skip
def test_braces_are_those_of_the_shell(pattern: str) -> None:
    assert expand_braces(pattern) == list(braceexpand(pattern))


def test_labels_and_json_are_written_as_ours_reads_them() -> None:
    """webdataset writes a label as its digits and JSON as UTF-8."""
    from webdataset.writer import make_handlers

    handlers = make_handlers()
    assert handlers["cls"](7) == b"7"
    assert json.loads(handlers["json"]({"label": 3})) == {"label": 3}

"""Pictures in parquet files: columns, splits, draws in any number of processes, and mistakes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from pathlib import Path

import fsspec
import pytest
import torch

datasets = pytest.importorskip("datasets")

from core.data import has_held_out, open_dataset, row_groups  # noqa: E402
from core.data.contents import identity_of, summary  # noqa: E402
from core.data.datasets import parquet  # noqa: E402
from core.data.datasets.parquet import Columns, ParquetPictures  # noqa: E402
from core.errors import DataError, PictureError  # noqa: E402
from core.paths import cache_folder  # noqa: E402
from tests.core.data.datasets.test_published import refusal, shows  # noqa: E402
from tests.core.data.shards import test_streamed  # noqa: E402
from tests.helpers import published_layouts as made  # noqa: E402
from tests.helpers.web_server import serve  # noqa: E402
from train.loop.draws import Batches  # noqa: E402

_fresh = test_streamed._fresh  # an empty cache, no pauses


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return made.parquet(tmp_path / "set")


def test_items_and_splits(root: Path) -> None:
    data = open_dataset("parquet", root)
    assert len(data) == 10
    for index in range(10):
        sample = data[index]
        assert shows(sample, index) and sample.label == index
        assert sample.captions == (f"number {index}",)
    val = open_dataset("parquet", root, split="test")
    assert [val.label(row) for row in range(len(val))] == [10, 11]
    assert has_held_out("parquet", root)
    assert summary(data, "train") == (
        f"parquet, train: 10 items in {root}; captions, no maps, labels"
    )


def test_an_epoch_is_a_permutation_that_few_row_groups_serve(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row group is read once per epoch, and only a window of them is kept."""
    monkeypatch.setattr(parquet, "WINDOW", 1)
    data = open_dataset("parquet", root, size=8, seed=5)
    assert isinstance(data, ParquetPictures)
    reads: list[tuple[int, int]] = []
    read = data._rows._read
    monkeypatch.setattr(data._rows, "_read", lambda *at: (reads.append(at), read(*at))[1])
    orders = [[data.draw(10 * epoch + k).label for k in range(10)] for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert sorted(reads) == [(0, 0), (0, 1), (1, 0), (1, 1)]  # of all epochs: four are kept
    groups = [[label // 5 * 2 + label % 5 // 3 for label in order] for order in orders]
    for order in groups:  # one row group after the other
        assert len([1 for a, b in pairwise(order) if a != b]) == 3
    assert {data.draw(10 * epoch).label // 5 for epoch in range(6)} == {0, 1}  # of the files, too
    again = open_dataset("parquet", root, size=8, seed=5)
    assert [again.draw(k).label for k in reversed(range(30))] == [*chain(*orders)][::-1]


@pytest.mark.parametrize("workers", [0, 2])
def test_four_processes_share_the_rows_without_repeats_and_gaps(root: Path, workers: int) -> None:
    data = open_dataset("parquet", root, size=8)
    data.draw(0)  # this process has read a row group before the loaders are forked
    found = []
    for rank in range(4):
        stream = iter(Batches(data, 1, 0, rank, 4, workers, _labels))
        found.append([label for (label,) in islice(stream, 5)])
    drawn = [shares[step] for step in range(5) for shares in found]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    # Resumed at the third step, a process draws what it would have drawn.
    resumed = islice(iter(Batches(data, 1, 2, 1, 4, workers, _labels)), 3)
    assert [label for (label,) in resumed] == found[1][2:]


def _labels(samples: list) -> list[int]:
    return [sample.label for sample in samples]


@pytest.mark.parametrize("parts", [True, False], ids=["parts", "whole"])
def test_files_on_a_web_server_are_copied_once(root: Path, parts: bool) -> None:
    with serve(root, parts=parts) as server:
        names = f"{server.address}/data/train-{{00000..00001}}-of-00002.parquet?key=1"
        data = open_dataset("parquet", Path(names), size=8)
        assert [data[k].label for k in range(10)] == list(range(10))
        asked = len(server.asked)
        assert len(list((cache_folder() / "shards").glob("*.parquet"))) == 2
        again = open_dataset("parquet", names, size=8)
        assert shows(again[9], 9)
    assert len(server.asked) <= asked + (4 if parts else 0)  # footers alone
    assert "key=1" not in data.place and "key=1" not in summary(data, "train")


def test_a_copy_that_another_process_removed_is_made_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = open_dataset("parquet", bucket, size=8)
    copies = iter([tmp_path / "gone.parquet"])
    copy_of = row_groups.copy_of
    monkeypatch.setattr(row_groups, "copy_of", lambda *of: next(copies, None) or copy_of(*of))
    assert shows(data[4], 4) and next(copies, None) is None


@pytest.fixture
def bucket(root: Path) -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for file in root.rglob("*.parquet"):
        memory.pipe_file(f"/b/{file.name}", file.read_bytes())
    yield "memory://b"
    memory.store.clear()


def test_files_in_a_bucket_and_patterns(bucket: str, root: Path) -> None:
    assert len(open_dataset("parquet", Path(bucket))) == 10
    assert len(open_dataset("parquet", bucket, split="val")) == 2
    assert len(open_dataset("parquet", f"{bucket}/train-*1-of*.parquet")) == 5
    assert len(open_dataset("parquet", root / "data" / "train-*.parquet")) == 10
    one = open_dataset("parquet", root / "data" / "train-00000-of-00002.parquet", split="test")
    assert len(one) == 5 and "no splits" in summary(one, "test")
    assert identity_of(open_dataset("parquet", root)) == identity_of(
        open_dataset("parquet", root / "data" / "train-*.parquet")
    )


def test_columns_are_found_by_type_and_named_by_settings(root: Path) -> None:
    kinds = {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    kinds |= {"words": datasets.List(datasets.Value("string")), "number": datasets.Value("int64")}
    features = datasets.Features(kinds)
    pictures = [{"bytes": made.encoded(made.picture(k)), "path": None} for k in range(3)]
    file = made.table(
        root / "own.parquet", range(3), features=features, image=None, label=None, text=None,
        photo=pictures, kind=[1, 0, -1], words=[["a", "b"], ["c"], []], number=[7, 8, 9],
    )  # fmt: skip
    data = open_dataset("parquet", file)
    assert isinstance(data, ParquetPictures)
    assert [data[k].label for k in range(3)] == [1, 0, -1] and data.labels == ("cat", "dog")
    assert data.parts() == (False, False, True) and shows(data[2], 2)
    chosen = open_dataset("parquet", file, columns=Columns("photo", "words", "number"))
    assert [chosen[k].captions for k in range(3)] == [("a", "b"), ("c",), ()]
    assert [chosen[k].label for k in range(3)] == [7, 8, 9]
    assert identity_of(chosen) != identity_of(data)


@pytest.mark.parametrize("revision", [None, "v2"])
def test_data_sets_of_the_hub(
    root: Path, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name, the subset and the revision are those of the address; the files are those of its
    splits."""
    asked = []
    build = datasets.load_dataset_builder

    def hub(name: str, subset: str | None, revision: str | None) -> object:
        asked.append((name, subset, revision))
        return build(str(root))

    monkeypatch.setattr(datasets, "load_dataset_builder", hub)
    place = "hf://datasets/owner/name" + (f"@{revision}" if revision else "")
    data = open_dataset("parquet", Path(place), columns=Columns(subset="small"), split="val")
    assert len(data) == 2 and asked == [("owner/name", "small", revision)]
    assert data.place == place and has_held_out("parquet", place, "small")


def test_rows_that_are_broken(root: Path) -> None:
    bad = [{"bytes": b"nothing", "path": None}, {"bytes": None, "path": "a.png"}]
    file = made.table(root / "bad.parquet", range(2), image=bad)
    data = open_dataset("parquet", file)
    for index, words in ((0, "bad.parquet/0 is not a picture"), (1, "bad.parquet/1 holds no byt")):
        data = open_dataset("parquet", file)
        with pytest.raises((DataError, PictureError)) as caught:
            data[index]
        assert words in str(caught.value)
    file = made.table(root / "text.parquet", range(1), text=[5])
    assert "captions" in refusal_of(file, Columns(caption="text"))
    file = made.table(root / "label.parquet", range(1), label=[-5])
    assert "the label of label.parquet/0 is" in refusal_of(file, Columns())


def refusal_of(file: Path, columns: Columns) -> str:
    with pytest.raises(DataError) as caught:
        data = open_dataset("parquet", file, columns=columns, size=8)
        data.draw(0)
    said = str(caught.value)
    assert "\n" not in said and said.endswith("."), said
    return said


def test_mistakes(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = root / "data" / "train-00000-of-00002.parquet"
    assert "no column 'photo' (--data.image-column); its columns are image, label, text" in (
        refusal_of(file, Columns(image="photo"))
    )
    two = made.table(root / "two.parquet", range(2), img=[b"", b""], image=[b"", b""])
    assert "has 2 columns of pictures among image, label, text, img; name one" in (
        refusal_of(two, Columns())
    )
    assert "cannot be opened as a data set" in refusal("parquet", tmp_path / "set" / "none")[
        :200
    ] or ("is neither a folder nor a parquet file" in refusal("parquet", tmp_path / "set" / "none"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("words")
    assert "is not stored as parquet" in refusal("parquet", tmp_path / "texts")
    assert "cannot be opened as a data set" in refusal("parquet", Path("hf://datasets/a/none"))
    assert "there are no parquet files" in refusal("parquet", tmp_path / "*.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 nothing")
    assert "cannot be read as a parquet file" in refusal("parquet", broken)
    assert "cannot be read as a parquet file" in refusal("parquet", tmp_path / "gone.parquet")
    with pytest.raises(DataError, match="has no columns: name them for 'parquet' alone"):
        open_dataset("folder", root, columns=Columns(image="a"))
    monkeypatch.setattr(
        "core.extras.find_spec", lambda name: None if name == "datasets" else object()
    )
    said = "the data set 'parquet' needs datasets: pip install 'regvq-studio[parquet]'."
    assert refusal("parquet", root) == said


def test_nothing_of_it_is_imported_before_it_is_needed() -> None:
    """The package `datasets` takes a second to import."""
    source = Path(parquet.__file__).read_text(encoding="utf-8").splitlines()
    assert not [line for line in source if line.startswith(("import datasets", "import pyarrow"))]
    assert "datasets" in sys.modules  # of this test


def test_draws_are_those_of_the_same_pictures_elsewhere(root: Path, bucket: str) -> None:
    near = open_dataset("parquet", root, size=8, seed=2)
    far = open_dataset("parquet", bucket, size=8, seed=2)
    for k in (0, 7, 23):
        assert torch.equal(near.draw(k).image, far.draw(k).image)

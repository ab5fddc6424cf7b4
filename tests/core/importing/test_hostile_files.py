"""Weights files that would run code, fill memory or mislead: a sentence each, nothing executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import CheckpointError
from core.importing import convert, import_tokenizer
from core.importing.archives import open_weights
from core.importing.pickles import MAX_DEPTH, BrokenPickle, Global, Stub, TensorRef, read_pickle
from tests.helpers.published_doubles import llamagen_state

RAN = "REGVQ_TEST_RAN"


class RunsCode:
    """Executed by pickle.load, and by torch.load without its restrictions."""

    def __reduce__(self) -> tuple:
        return os.putenv, (RAN, "1")


class Loud:
    """Its pickle calls a function of this module while it is read."""

    def __reduce__(self) -> tuple:
        return _called, ("yes",)


_calls: list[str] = []


def _called(word: str) -> str:
    _calls.append(word)
    return word


@lru_cache(maxsize=1)
def state() -> dict[str, torch.Tensor]:
    return llamagen_state()


def saved(folder: Path, content: object, legacy: bool = False) -> Path:
    file = folder / "model.pt"
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file


def rewritten(
    file: Path, change: Callable[[str, bytes], bytes | None], packed: bool = False
) -> Path:
    """The same archive with other entries."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    out = file.with_name("changed.pt")
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in entries.items():
            if (data := change(name, data)) is not None:
                archive.writestr(name, data)
    return out


def refused(file: Path, said: str, **options: object) -> None:
    """One sentence that names the file, and no half bundle."""
    out = file.parent / "out"
    with pytest.raises(CheckpointError, match=said) as error:
        import_tokenizer(file, out, **options)
    text = str(error.value)
    assert str(file.parent) in text and "\n" not in text and len(text) < 700
    assert not out.exists() and not list(file.parent.glob("out*"))


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_of_a_pickle_is_executed(tmp_path: Path, legacy: bool) -> None:
    _calls.clear()
    content = {"model": state(), "optimizer": Loud(), "more": [Loud(), {"x": RunsCode()}]}
    found = convert(saved(tmp_path, content, legacy))
    assert found.tokenizer.codebook_size == 60 and not _calls
    pickle.loads(pickle.dumps(Loud()))  # the standard library's would have called it
    assert _calls == ["yes"]


@pytest.mark.parametrize("protocol", range(6))
def test_globals_are_stubs_in_every_protocol(protocol: int) -> None:
    class Slotted:
        pass

    content = {
        "system": RunsCode(), "set": {1, 2}, "frozen": frozenset({3}), "tuple": (1, (2.5, None)),
        "text": "a" * 300, "bytes": b"b" * 300, "big": 2**70, "list": [True, False],
        "path": Path("x"), "function": os.system, "error": ValueError("x"), "nothing": {},
        "complex": 1j, "array": bytearray(b"abc"),
    }  # fmt: skip
    found = read_pickle(io.BytesIO(pickle.dumps(content, protocol)))
    assert found["tuple"] == (1, (2.5, None)) and found["list"] == [True, False]
    assert found["text"] == "a" * 300 and found["big"] == 2**70 and found["nothing"] == {}
    assert isinstance(found["system"], Stub) and isinstance(found["error"], Stub)
    assert found["function"] == Global(os.system.__module__, "system")


def test_a_pickle_of_a_whole_module_is_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path, torch.nn.Linear(2, 2)), "pickled object instead of a dictionary")


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(b"")
    refused(file, "neither a safetensors file nor one that torch.save wrote")
    file.write_bytes(pickle.dumps({"weights": [1, 2]}))
    refused(file, "a pickle, but none that torch.save wrote")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "x")
    refused(file, r"none of torch's \(no data.pkl\)")
    torch.save({"epoch": 3, "note": "hello"}, file)
    refused(file, r"no dictionary of weights \(it has 'epoch', 'note'\)")
    torch.save({"conv.weight": torch.ones(2, 2)}, file)
    refused(file, "of no known family .*conv.weight.*known: taming")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    refused(tmp_path / "model.safetensors", "cannot be read")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, legacy: bool, share: float) -> None:
    file = saved(tmp_path, {"model": state()}, legacy)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(file, "cannot be read")


def test_zip_bombs(tmp_path: Path) -> None:
    file = saved(tmp_path, {"model": state()})
    refused(rewritten(file, lambda name, data: data, packed=True), "compressed, which torch never")
    # Entries that overlap: 200 of them show the same bytes.
    raw = bytearray(file.read_bytes())
    end = raw.rindex(b"PK\x05\x06")
    count, _, size, start = struct.unpack("<HHII", raw[end + 8 : end + 20])
    directory = bytes(raw[start : start + size])
    many = directory * 200
    struct.pack_into("<HHII", raw, end + 8, count * 200 % 65536, count * 200 % 65536, 0, start)
    raw[end:end] = many[size:]
    struct.pack_into("<I", raw, raw.rindex(b"PK\x05\x06") + 12, len(many))
    file.write_bytes(raw)
    refused(file, "cannot be read")


def test_numbers_that_do_not_fit_their_archive(tmp_path: Path) -> None:
    file = saved(tmp_path, {"model": state()})

    def shorter(name: str, data: bytes) -> bytes:
        return data[:-4] if name.endswith("data/0") else data

    refused(rewritten(file, shorter), r"needs [\d,]+ bytes and has [\d,]+")
    refused(
        rewritten(file, lambda name, data: None if name.endswith("data/3") else data),
        "the numbers of .* cannot be read",
    )
    refused(
        rewritten(file, lambda name, data: b"big" if name.endswith("byteorder") else data),
        "big-endian",
    )


def made_up(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> dict:
    """A state whose first convolution lies in its storage as stated."""
    tensor = torch.ones(64)
    inner = dict(state())

    class Claimed:
        def __reduce__(self) -> tuple:
            storage = tensor.untyped_storage()
            typed = torch.storage.TypedStorage(
                wrap_storage=storage, dtype=torch.float32, _internal=True
            )
            return torch._utils._rebuild_tensor_v2, (typed, offset, shape, strides, False, {})

    inner["encoder.conv_in.bias"] = Claimed()
    return {"model": inner}


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (2**40,), (0,)),  # a terabyte of one number
        (0, (32,), (2**40,)),
        (60, (32,), (1,)),
        (-1, (32,), (1,)),
        (0, (32,), (-1,)),
        (0, (-32,), (1,)),
        (0, (8, 8, 8), (1, 1, 1)),  # more numbers than the storage has
        (0, (0,), (1,)),
        (0, (1,) * 40, (1,) * 40),
        (0, (32,), (1, 1)),
    ],
)
def test_absurd_strides(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    file = saved(tmp_path, made_up(offset, shape, strides))
    refused(file, "encoder.conv_in.bias of shape .* does not lie in its")


def test_tensors_that_share_their_numbers_do_not_multiply(tmp_path: Path) -> None:
    big = torch.ones(64, 64, 3, 3)
    inner = {
        name: big[: x.shape[0], : x.shape[1], : x.shape[2], : x.shape[3]] if x.ndim == 4 else x
        for name, x in state().items()
        if name != "quantize.codebook_used"
    }
    refused(saved(tmp_path, {"model": inner}), "more tensors than it has bytes")


def test_deep_and_endless_pickles() -> None:
    def program(body: bytes) -> io.BytesIO:
        return io.BytesIO(b"\x80\x02" + body)

    for body, said in (
        (b"]" + b"\x85" * (MAX_DEPTH + 1) + b".", "nest deeper"),  # tuples in tuples
        (b"(" * 1000 + b"]" + b"l" * 1000 + b".", "nest deeper"),
        (b"X\xff\xff\xff\x7f" + b"a" * 10, "a string of 2,147,483,647 bytes"),
        (b"\x8e" + struct.pack("<Q", 2**60) + b"a", "a string of"),
        (b"r\xff\xff\xff\x7f.", "damaged"),  # a memo of two billion entries
        (b"N0N0" * 10 + b".", "damaged"),
        (b"t.", "ends a container that was not started"),
        (b"N", "no end|damaged"),
        (b"\x97.", "READONLY|NEXT_BUFFER|uses"),
        (b"NNQ.", "refers to something that is no storage"),
    ):
        with pytest.raises(BrokenPickle, match=said):
            read_pickle(program(body))


def test_a_list_in_itself_ends() -> None:
    circle: list = []
    circle.append(circle)
    found = read_pickle(io.BytesIO(pickle.dumps(circle)))
    assert found[0] is found


def test_unhashable_and_nested_keys_are_left_out() -> None:
    deep: tuple = ()
    for _ in range(40):
        deep = (deep,)
    assert read_pickle(io.BytesIO(pickle.dumps({deep: 1, "kept": 2}))) == {"kept": 2}


def test_all_storage_types_and_shared_storages_are_read(tmp_path: Path) -> None:
    whole = torch.arange(24.0)
    content = {
        "view": whole.view(4, 6).t(), "part": whole[5:11], "scalar": torch.tensor(3),
        "half": torch.ones(3).half(), "brain": torch.ones(3).bfloat16(), "bool": torch.ones(2) > 0,
        "byte": torch.ones(3, dtype=torch.uint8), "parameter": torch.nn.Parameter(torch.ones(2)),
        "double": torch.ones(2).double(),
    }  # fmt: skip
    for legacy in (False, True):
        file = open_weights(saved(tmp_path, content, legacy))
        for name, leaf in file.tree.items():
            assert isinstance(leaf, TensorRef)
            assert torch.equal(file.tensor(name, leaf), content[name])


@lru_cache(maxsize=2)
def tiny_file(legacy: bool) -> bytes:
    """A whole file of few bytes, so that a mutation hits something: one width, one block."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        inner = {name: x[:1].clone() for name, x in state().items() if x.ndim == 1}
        inner.pop("quantize.codebook_used")
        return saved(Path(folder), {"model": inner, "lr": 0.1}, legacy).read_bytes()


@settings(
    max_examples=250, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_mutated_files_end_in_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(tiny_file(data.draw(st.booleans())))
    end = st.integers(0, len(raw) - 1)
    for _ in range(data.draw(st.integers(1, 6))):
        kind, place = data.draw(st.sampled_from(["set", "cut", "repeat", "number"])), data.draw(end)
        place = min(place, len(raw) - 1)
        if kind == "set":
            raw[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del raw[place : place + data.draw(st.integers(1, 200))]
        elif kind == "repeat":
            raw[place:place] = raw[place : place + 60] * data.draw(st.integers(1, 20))
        else:
            raw[place : place + 8] = struct.pack("<q", data.draw(st.integers(-(2**63), 2**63 - 1)))
        if len(raw) < 2:
            break
    file = tmp_path / "mutated.pt"
    file.write_bytes(raw)
    try:
        weights = open_weights(file)
        tensors = weights.tree.get("model", {}) if isinstance(weights.tree, dict) else {}
        for name, leaf in tensors.items() if isinstance(tensors, dict) else ():
            if weights.is_tensor(leaf):
                assert weights.tensor(str(name), leaf).numel() <= len(raw)
    except CheckpointError as error:
        assert "\n" not in str(error) and str(file) in str(error)
    with pytest.raises(CheckpointError, match="mutated"):
        convert(file)  # never whole: its convolutions are missing

"""Quantizers and data sets of one's own: their registration, and the files that register them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from core import extensions
from core.data import DataError, Sample, has_held_out, open_dataset, register_dataset, registry
from core.errors import CheckpointError
from core.extensions import ExtensionError, load_file
from core.quantizers import QUANTIZERS, VQConfig, quantizer_class, register_quantizer
from core.tokenizer import Tokenizer, TokenizerConfig


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    known, sets, path = dict(QUANTIZERS), dict(registry._REGISTERED), list(sys.path)
    yield
    QUANTIZERS.clear()
    QUANTIZERS.update(known)
    registry._REGISTERED.clear()
    registry._REGISTERED.update(sets)
    extensions._loaded.clear()
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("an_extension")]:
        del sys.modules[name]


@dataclass(frozen=True)
class OwnConfig(VQConfig):
    """A quantizer with a name of its own."""


def written(folder: Path, name: str, source: str) -> Path:
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder / f"{name}.py"


REGISTERING = """
from dataclasses import dataclass
from core.data import Sample, register_dataset
from core.quantizers import VQConfig, register_quantizer

@dataclass(frozen=True)
class OwnConfig(VQConfig):
    pass

def opened(root, split, *, size, seed, crop):
    return [(root, split, size, seed, crop)]

register_quantizer("own", OwnConfig)
register_dataset("own", opened, held_out=False)
"""


def test_a_registered_quantizer_is_saved_and_loaded_by_its_name(tmp_path: Path) -> None:
    config = TokenizerConfig(quantizer=OwnConfig(size=8))
    with pytest.raises(CheckpointError, match="OwnConfig is not a registered quantizer"):
        config.to_dict()
    register_quantizer("own", OwnConfig)
    register_quantizer("own", OwnConfig)  # again, the same: nothing changes
    assert quantizer_class("own") is OwnConfig
    Tokenizer(config).save_pretrained(tmp_path / "bundle")
    loaded = Tokenizer.from_pretrained(tmp_path / "bundle")
    assert loaded.config == config and type(loaded.config.quantizer) is OwnConfig
    del QUANTIZERS["own"]
    with pytest.raises(CheckpointError) as error:
        Tokenizer.from_pretrained(tmp_path / "bundle")
    assert "unknown quantizer 'own'; available: vq, regvq" in str(error.value)
    assert "REGVQ_EXTENSIONS" in str(error.value) and "\n" not in str(error.value)


class Plain:
    size = 3

    def build(self, dim: int) -> None: ...


@dataclass(frozen=True)
class WithoutSize:
    def build(self, dim: int) -> None: ...


@dataclass(frozen=True)
class WithoutBuild:
    size: int = 3


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("vq", OwnConfig, "the quantizer name 'vq' is taken"),
        ("own", Plain, "must be a dataclass"),
        ("own", OwnConfig(), "must be a dataclass"),
        ("own", WithoutSize, "needs a field size"),
        ("own", WithoutBuild, r"needs a method build\(dim\)"),
        ("", OwnConfig, "must be a string"),
    ],
)
def test_what_is_not_the_config_of_a_quantizer_is_refused(name, config, words) -> None:
    with pytest.raises(ExtensionError, match=words):
        register_quantizer(name, config)
    assert "own" not in QUANTIZERS


def test_a_registered_data_set_is_opened_by_its_name() -> None:
    asked = []

    def opener(root, split, *, size, seed, crop):
        asked.append((root, split, size, seed, crop))
        return [Sample(torch.zeros(3, size, size))]

    register_dataset("own", opener)
    data = open_dataset("own", "here", size=8, seed=2, split="val", crop=(0.5, 1.0))
    assert data[0].image.shape == (3, 8, 8)
    assert asked == [("here", "val", 8, 2, (0.5, 1.0))]
    assert has_held_out("own", None) is True
    with pytest.raises(DataError, match="unknown split"):
        open_dataset("own", split="fourth")
    for name in ("scenes", "folder", "imagenet"):
        with pytest.raises(ExtensionError, match=f"the data set name '{name}' is taken"):
            register_dataset(name, opener)
    with pytest.raises(ExtensionError, match="is taken"):
        register_dataset("own", lambda root, split, **how: [])
    with pytest.raises(ExtensionError, match="needs a name and a function"):
        register_dataset("other", "not a function")
    with pytest.raises(DataError, match=r"unknown data set 'other'; available: .*, own\."):
        open_dataset("other")


def test_files_of_the_variable_are_imported_when_a_name_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "an_extension", REGISTERING)
    monkeypatch.setenv("REGVQ_EXTENSIONS", str(file))
    open_dataset("scenes", size=16)
    quantizer_class("vq")
    assert "an_extension" not in sys.modules  # not before it is needed
    assert quantizer_class("own").__module__ == "an_extension"
    assert open_dataset("own", size=8) == [(None, "train", 8, 0, (0.0, 1.0))]
    assert has_held_out("own", None) is False
    monkeypatch.setenv("REGVQ_EXTENSIONS", str(tmp_path / "gone.py"))
    with pytest.raises(DataError, match=r"gone\.py does not exist"):
        open_dataset("another")
    with pytest.raises(ExtensionError, match=r"gone\.py does not exist"):
        quantizer_class("another")


def test_a_file_is_imported_once_and_knows_its_neighbors(tmp_path: Path) -> None:
    written(tmp_path, "an_extension_beside", "value = 7\n")
    file = written(tmp_path, "an_extension", "from an_extension_beside import value\n")
    module = load_file(file)
    assert module.value == 7 and load_file(file) is module
    file.write_text("value = 8\n")
    assert load_file(file).value == 7


def test_the_script_and_the_module_of_one_file_may_both_register(tmp_path: Path) -> None:
    """``python my_quantizer.py`` that trains by the package, which imports the file again."""
    file = written(tmp_path, "an_extension", REGISTERING)
    first = load_file(file)
    del sys.modules["an_extension"]
    second = load_file(file)
    assert first is not second and quantizer_class("own") is second.OwnConfig


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("an_extension", "x = (\n", r"an_extension\.py, line 1: .*never closed"),
        ("an_extension", "\n\nimport no_such_thing", "an_extension.py, line 3: ModuleNotFoundErr"),
        ("an_extension", "raise KeyError", "an_extension.py, line 1: KeyError"),
        ("an-extension", "", "cannot be imported as 'an-extension'"),
        ("random", "", "cannot be imported as 'random', which is the name of another module"),
    ],
)
def test_a_file_that_cannot_be_imported_is_a_sentence(tmp_path: Path, name, source, words) -> None:
    with pytest.raises(ExtensionError, match=words) as error:
        load_file(written(tmp_path, name, source))
    assert "\n" not in str(error.value)
    assert sys.modules["random"].__file__ != str(tmp_path / "random.py")

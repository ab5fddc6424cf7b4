"""The library has two names in the source tree, ``core`` and ``regvq``, and one when installed."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import core
from core.paths import ROOT
from core.quantizers import VQConfig
from tests.helpers import fresh

ORDERS = (("core", "regvq"), ("regvq", "core"))


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process that starts in ``folder``."""
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return fresh.run(arguments, folder, settings)


def printed(script: str, folder: Path = ROOT) -> list[str]:
    """Return the lines that a script prints."""
    done = run("-c", script, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("order", ORDERS)
def test_both_names_give_one_library(order):
    lines = printed(
        f"import {order[0]}, {order[1]}\n"
        "print(core is regvq, core.Tokenizer is regvq.Tokenizer)\n"
        f"import {order[0]}.quantizers.vq, {order[1]}.quantizers.vq\n"
        "print(core.quantizers is regvq.quantizers, regvq.quantizers.vq is core.quantizers.vq)\n"
        "from core.priors import Prior; import regvq.priors.base\n"
        "print(Prior is regvq.priors.base.Prior is core.Prior)\n"
    )
    assert lines == ["True True", "True True", "True"]


def test_another_thread_that_imports_the_same_alias_gets_its_names():
    """Python gives it the placeholder that stands in ``sys.modules`` during the import."""
    lines = printed(
        "import importlib.util, core, sys\n"
        "spec = importlib.util.find_spec('regvq.quantizers.vq')\n"
        "placeholder = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(placeholder)\n"
        "import core.quantizers.vq as owned\n"
        "print(placeholder is owned, placeholder.VQConfig is owned.VQConfig)\n"
    )
    assert lines == ["False True"]


@pytest.mark.parametrize("first", ["core", "regvq"])
def test_a_submodule_may_be_the_first_import(first):
    second = "regvq" if first == "core" else "core"
    lines = printed(
        "import sys\n"
        f"import {first}.quantizers.vq as one\n"
        f"import {second}.quantizers.vq as other\n"
        "name = 'quantizers.vq'\n"
        "print(one is other, sys.modules[f'core.{name}'] is sys.modules[f'regvq.{name}'])\n"
    )
    assert lines == ["True True"]


def test_importing_the_library_does_not_import_torch():
    # In a process of its own: a fork of ``fresh`` has imported them.
    script = "import sys, regvq\nprint('torch' in sys.modules, 'numpy' in sys.modules)"
    words = [sys.executable, "-c", script]
    line = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert line == "False False"


def test_the_front_door():
    for name in core.__all__:
        assert getattr(core, name) is not None
        assert name in dir(core)
    from core.checkpoints import load_prior
    from core.data.registry import open_dataset

    assert core.load_prior == load_prior and core.open_dataset is open_dataset
    with pytest.raises(AttributeError, match="no attribute 'load_everything'"):
        _ = core.load_everything


@pytest.mark.slow
def test_python_m_runs_packages_and_modules_by_both_names():
    expected = run("-m", "core.data", "--help")
    assert expected.stdout.startswith("usage: python -m core.data")
    for module in ("regvq.data", "regvq.data.check"):
        done = run("-m", module, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (expected.stdout if module == "regvq.data" else "")


@pytest.mark.parametrize("name", ["core", "regvq"])
def test_a_missing_submodule_is_named(name):
    lines = printed(
        f"import {name}, importlib.util\n"
        f"for missing in ('{name}.nothing', '{name}.quantizers.nothing'):\n"
        "    print(importlib.util.find_spec(missing))\n"
        "    try:\n"
        "        importlib.import_module(missing)\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error.name, error)\n"
    )
    assert lines == [
        "None",
        f"{name}.nothing No module named '{name}.nothing'",
        "None",
        f"{name}.quantizers.nothing No module named '{name}.quantizers.nothing'",
    ]
    done = run("-m", f"{name}.nothing")
    assert done.returncode == 1 and f"No module named {name}.nothing" in done.stderr


@pytest.mark.parametrize("name", ["core", "regvq"])
def test_a_config_is_unpickled_under_either_name(name):
    text = pickle.dumps(VQConfig(size=9), protocol=0).replace(b"core.", name.encode() + b".")
    (line,) = printed(
        f"import pickle, {name}.quantizers\n"
        f"config = pickle.loads({text!r})\n"
        "from core.quantizers import VQConfig\n"
        "print(config == VQConfig(size=9), type(config) is VQConfig)\n"
    )
    assert name.encode() + b".quantizers.vq" in text
    assert line == "True True"


def test_an_installed_package_has_one_name(tmp_path):
    shutil.copytree(ROOT / "core", tmp_path / "regvq", ignore=shutil.ignore_patterns("__pycache__"))
    lines = printed(
        "import sys, regvq, regvq.quantizers.vq\n"
        "from regvq import Tokenizer\n"
        "print(regvq.__file__)\n"
        "print(Tokenizer.__module__)\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'core'])\n"
        "print('regvq._names' in sys.modules)\n",
        folder=tmp_path,
    )
    assert lines == [
        str(tmp_path / "regvq" / "__init__.py"),
        "regvq.tokenizer",
        "[]",
        "False",
    ]


def test_a_package_regvq_that_was_imported_first_owns_the_modules(tmp_path):
    """As in an editable installation, whose finder maps ``regvq`` to the folder ``core``."""
    lines = printed(
        "import importlib.util, sys\n"
        f"folder = {str(ROOT / 'core')!r}\n"
        "spec = importlib.util.spec_from_file_location(\n"
        "    'regvq', folder + '/__init__.py', submodule_search_locations=[folder])\n"
        "regvq = sys.modules['regvq'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(regvq)\n"
        f"sys.path.append({str(ROOT)!r})\n"
        "import core, core.quantizers.vq\n"
        "print(core is regvq, core.__name__, core.quantizers.vq is regvq.quantizers.vq)\n"
        "print(core.quantizers.vq.VQConfig.__module__)\n",
        folder=tmp_path,
    )
    assert lines == ["True regvq True", "regvq.quantizers.vq"]

"""The distribution: the wheel, its declared dependencies, and its commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import core
import regvq
from core.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = ("core", "app", "train", "pyproject.toml", "setup.py", "README.md", "LICENSE")
SMALLEST = "study-vqgan-uniform"

RECONSTRUCT = f"""
import sys
import regvq
from PIL import Image
from regvq import Tokenizer
from regvq.images import to_pictures, to_tensor

tokenizer = Tokenizer.from_pretrained(r"{ROOT / "checkpoints" / SMALLEST}")
images = to_tensor(Image.radial_gradient("L").resize((72, 40)).convert("RGB"))[None]
back = to_pictures(tokenizer.reconstruct(images))[0]
print(back.size, sorted({{"gradio", "diffusers", "torchvision", "core"}} & set(sys.modules)))
print(regvq.__file__)
"""


def test_core_and_regvq_are_one_library():
    assert core.Tokenizer is regvq.Tokenizer
    assert core.__version__ == regvq.__version__


WITHOUT_TRAINER = """
import os, sys


def main():
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from app import build_app, server

    blocks = build_app()
    server.launch_options()
    print(len(blocks.get_api_info()["named_endpoints"]))
    from app.services import examples, generation, reconstruction

    request = reconstruction.parse_request(examples.examples()[0].path, "scenes-regvq")
    print(reconstruction.run(request)[0].figures["downsampling"])
    settings = (4, 0, None, None, None, None, 4)
    request = generation.text_request("a lake", "scenes-text-diffusion", *settings)
    *_, step = generation.shown_steps(request)
    print(len(step.ids))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.modules[name] = None  # importing it fails
    sys.path.insert(0, os.getcwd())
    main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the source tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    run(
        *(sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", out, "--quiet"),
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and what it requires without extras.

    The requirements are links to this environment's packages: they are there already, and torch is
    some gigabytes.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", wheel),
        *("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"),
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for name in required(PROJECT["dependencies"]):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    return python


def required(requirements: list[str]) -> set[str]:
    """Return the names of the distributions that requirements ask for, directly or not."""
    found: set[str] = set()
    left = [(Requirement(each), "") for each in requirements]
    while left:
        requirement, extra = left.pop()
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if not wanted or requirement.name in found:
            continue
        found.add(requirement.name)
        further = distribution(requirement.name).requires or []
        extras = requirement.extras or {""}
        left += [(Requirement(each), extra) for each in further for extra in extras]
    return found


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_reconstructs_a_picture_without_extras(installed: Path, tmp_path: Path):
    shown, place = run(installed, "-I", "-c", RECONSTRUCT, cwd=tmp_path).splitlines()
    assert shown == "(72, 40) []"
    assert Path(place).parent.parent == Path(
        run(installed, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )


def test_the_wheel_holds_the_library_and_no_checkpoint(wheel: Path):
    names = run(sys.executable, "-m", "zipfile", "-l", wheel)
    assert "regvq/py.typed" in names and "regvq/quantizers/tiled/lookup.py" in names
    assert "regvq_app/static/" in names and "regvq_train/recipes/" in names
    assert ".safetensors" not in names and "checkpoints/" not in names.replace(
        "/checkpoints.py", ""
    )
    missing = [
        str(file.relative_to(ROOT))
        for top, name in (("core", "regvq"), ("app", "regvq_app"), ("train", "regvq_train"))
        for file in (ROOT / top).rglob("*")
        if file.is_file()
        and "__pycache__" not in file.parts
        and f"{name}/{file.relative_to(ROOT / top).as_posix()}" not in names
    ]
    assert not missing


@pytest.mark.parametrize("command, extra", [("regvq-app", "app"), ("regvq-train", "train")])
def test_a_command_without_its_extra_says_how_to_get_it(
    installed: Path, tmp_path: Path, command: str, extra: str
):
    done = subprocess.run(
        [str(installed.parent / command)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert f"pip install 'regvq-studio[{extra}]'" in done.stderr


def listed(name: str) -> list[Requirement]:
    """Return the requirements that a file names itself."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def test_what_a_space_installs_is_what_the_extras_of_the_explorer_require():
    extras = PROJECT["optional-dependencies"]
    wanted = {Requirement(each) for each in PROJECT["dependencies"]}
    wanted |= {
        Requirement(each) for name in ("app", "plots", "text", "latent") for each in extras[name]
    }
    assert set(listed("requirements.txt")) == wanted
    added = {Requirement(each) for name in ("train", "eval") for each in extras[name]}
    assert set(listed("requirements-train.txt")) == added
    assert set(extras) == {
        "app",
        "plots",
        "text",
        "latent",
        "train",
        "eval",
        "parquet",
        "ocr",
        "all",
    }
    for name, base in (("train", "requirements.txt"), ("dev", "requirements-train.txt")):
        text = (ROOT / f"requirements-{name}.txt").read_text(encoding="utf-8")
        assert f"-r {base}\n" in text


@pytest.mark.slow
def test_the_explorer_works_without_the_packages_of_the_trainer(tmp_path: Path):
    """Those that the explorer's own requirements bring along may be there."""
    brought = required([str(each) for each in listed("requirements.txt")])
    blocked = {each.name for each in listed("requirements-train.txt")} - brought
    assert {"accelerate", "tyro", "tensorboard", "torchmetrics", "torch-fidelity"} <= blocked
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_TRAINER)
    names = sorted(name.replace("-", "_") for name in blocked)
    shown = run(sys.executable, script, *names, cwd=ROOT)
    assert shown.split() == ["13", "4", "4"]


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", core.__version__)
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {core.__version__}" in changes


def test_the_lock_has_a_version_for_each_requirement() -> None:
    """``make app`` installs these versions; ``make lock`` writes them."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    for needed in (*listed("requirements.txt"), *listed("requirements-train.txt")):
        name = re.sub(r"[-_.]+", "-", needed.name).lower()
        assert name in locked, f"{needed.name}: run make lock"
        assert locked[name] in needed.specifier, f"{needed}: run make lock"

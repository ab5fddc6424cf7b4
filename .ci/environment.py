"""Create the virtual environment ``.venv`` and install a requirements file and the project into it.

``python3 .ci/environment.py requirements.txt``. Does nothing if that was done before with the same
files. The versions are those of ``requirements.lock``, which were tested together; on a Python for
which one of them was not made, the newest allowed ones are installed instead. ``--newest`` ignores
the lock. ``--lowest`` creates ``.venv-lowest`` with the lowest versions that the explorer's
and the trainer's requirements allow.

Works on a fresh Debian or Ubuntu without root: where the package python3-venv is missing,
the environment is created without pip, and pip is taken from the system's pip or Debian's wheel.
The project itself is installed in editable mode, so that scripts outside its folder, such as those
in ``examples/``, can ``import regvq``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOWEST = "--lowest" in sys.argv
VENV = ROOT / (".venv-lowest" if LOWEST else ".venv")
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"


def main() -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 (runs on whatever python3 is there)
        print(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    requirements = ROOT / next(word for word in sys.argv[1:] if not word.startswith("-"))
    stamp = VENV / f".installed-{requirements.stem}"
    wanted = _fingerprint(requirements)
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return 0
    if not _has_pip():
        _make()
    print(f"Installing {requirements.name} (several minutes the first time) ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        versions = _versions(Path(folder))
        code = _install("--upgrade", "-r", requirements, *versions)
        if code != 0 and versions and not LOWEST:
            print("The tested versions cannot be installed here; the newest are tried.", flush=True)
            code = _install("--upgrade", "-r", requirements)
    code = code or _install("--no-deps", "--editable", ROOT)
    if code == 0:
        stamp.write_text(wanted)
    return code


def _install(*what: object) -> int:
    command = [PYTHON, "-m", "pip", "install", "--quiet", *map(str, what)]
    return subprocess.run(command, check=False).returncode


def _versions(folder: Path) -> list[object]:
    """Return the flags of pip that choose versions."""
    if LOWEST:
        constraints = folder / "lowest.txt"
        constraints.write_text("\n".join(_lowest()) + "\n")
        return ["-c", constraints]
    return [] if "--newest" in sys.argv or not LOCK.exists() else ["-c", LOCK]


def _lowest() -> list[str]:
    """Return the lowest versions that the explorer's and the trainer's requirements allow."""
    lines = _read(ROOT / "requirements-train.txt").splitlines()
    found = (re.match(r"([\w.-]+)>=([\w.]+)", line) for line in lines)
    return [f"{match[1]}=={match[2]}" for match in found if match]


def _fingerprint(requirements: Path) -> str:
    text = _read(requirements) + (ROOT / "pyproject.toml").read_text() + sys.version
    if not LOWEST and LOCK.exists():
        text += LOCK.read_text()
    return hashlib.sha256(text.encode()).hexdigest()


def _read(requirements: Path) -> str:
    """Return a requirements file with the files that it names by -r."""
    text = requirements.read_text()
    named = [line[3:].strip() for line in text.splitlines() if line.startswith("-r ")]
    return text + "".join(_read(ROOT / name) for name in named)


def _has_pip() -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0


def _make() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True).returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", VENV], check=True)
    for borrow in (_from_system_pip, _from_debian_wheel):
        borrow()
        if _has_pip():
            return
    print(
        "pip could not be set up. Install it once with: sudo apt-get install python3-venv",
        file=sys.stderr,
    )
    raise SystemExit(2)


def _from_system_pip() -> None:
    command = [sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip"]
    subprocess.run(command, check=False, capture_output=True)


def _from_debian_wheel() -> None:
    """``apt-get download`` needs no root; the package holds pip as a wheel, which runs as it is."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"cwd": folder, "check": False, "capture_output": True}
        subprocess.run(["apt-get", "download", "python3-pip-whl"], **quiet)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, "unpacked"], **quiet)
        for wheel in Path(folder).glob("unpacked/usr/share/python-wheels/pip-*.whl"):
            install = [PYTHON, f"{wheel}/pip", "install", "--quiet", "pip"]
            subprocess.run(install, env={**os.environ, "PIP_NO_INPUT": "1"}, **quiet)


if __name__ == "__main__":
    raise SystemExit(main())

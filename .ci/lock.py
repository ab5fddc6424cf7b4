"""Write ``requirements.lock``: the versions in ``.venv`` of what the explorer and the trainer need.

``make lock`` installs the newest allowed versions and writes the file; ``make test`` then tests
them, and ``make app`` installs them.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# The versions that were tested together, on Python {}.{}; written by `make lock`.
# Constraints for pip, for the explorer and the trainer:
# pip install -r requirements.txt -c requirements.lock
# pip install -r requirements-train.txt -c requirements.lock
"""


def main() -> None:
    """Write the file."""
    files = (ROOT / "requirements.txt", ROOT / "requirements-train.txt")
    found: dict[str, str] = {}
    for line in (line for file in files for line in file.read_text().splitlines()):
        if match := re.match(r"[\w.-]+", line):
            _collect(match[0], found)
    text = HEAD.format(*sys.version_info[:2])
    text += "".join(f"{name}=={found[name]}\n" for name in sorted(found))
    (ROOT / "requirements.lock").write_text(text)


def _collect(name: str, found: dict[str, str]) -> None:
    """Add a package and what it needs, if it is installed. Extras that are not installed and
    packages of other systems are thus left out."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name in found:
        return
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return
    found[name] = package.version.partition("+")[0]
    for need in package.requires or ():
        if "extra ==" not in need and (match := re.match(r"[\w.-]+", need)):
            _collect(match[0], found)


if __name__ == "__main__":
    main()

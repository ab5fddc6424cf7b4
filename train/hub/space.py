"""The explorer as a Space of the Hugging Face Hub: exactly the files that it needs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from regvq.bundles.bundle import Bundle
from regvq.checkpoints import fingerprint_of
from regvq.errors import CheckpointError
from regvq.paths import ROOT

from .bundle import FURTHER, NEEDED, tokenizer_of

FILES = ("app.py", "regvq.py", "README.md", "LICENSE", "requirements.txt", "RESULTS.md")
FOLDERS = ("app", "core", "docs")
REPLACED = ("app/*", "core/*", "docs/*", "checkpoints/*")
"""Files that an earlier upload may have left: deleted by the next one unless it has them."""
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyi", ".*")


def check_space(bundles: Sequence[Bundle], root: Path = ROOT) -> None:
    """Raise CheckpointError if the README has no front matter of a Space, or if ``bundles`` lack
    the tokenizer of one of their priors."""
    from huggingface_hub import metadata_load

    said = metadata_load(root / "README.md") or {}
    for name in ("title", "sdk", "sdk_version", "app_file"):
        if name not in said:
            raise CheckpointError(
                f"{root / 'README.md'} has no {name!r} in its front matter; a Space needs it."
            )
    marks = {fingerprint_of(bundle) for bundle in bundles if bundle.kind == "tokenizer"}
    for bundle in bundles:
        if bundle.kind != "prior":
            continue
        name, mark = tokenizer_of(bundle)
        if mark not in marks:
            raise CheckpointError(
                f"the prior {bundle.name} needs its tokenizer {name!r} ({mark[:19]}) in the Space; "
                "name it with --checkpoint, too."
            )


def stage_space(bundles: Sequence[Bundle], folder: Path, root: Path = ROOT) -> None:
    """Copy the explorer and ``bundles`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (root / name).is_file():
            shutil.copyfile(root / name, folder / name)
    for name in FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=_LEFT_OUT, dirs_exist_ok=True)
    for bundle in bundles:
        place = folder / "checkpoints" / bundle.name
        place.mkdir(parents=True, exist_ok=True)
        for name in (*NEEDED, *FURTHER):
            if (bundle.path / name).is_file():
                shutil.copyfile(bundle.path / name, place / name)

"""The explorer as a Space of the Hugging Face Hub: exactly the files that it needs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from regvq.bundles.bundle import Bundle
from regvq.checkpoints import fingerprint_of
from regvq.errors import CheckpointError
from regvq.paths import ROOT

from ..cli.errors import UsageError
from .bundle import FURTHER, NEEDED, metadata, tokenizer_of

FILES = (
    "app.py", "regvq.py", "README.md", "LICENSE", "requirements.txt", "RESULTS.md", "SECURITY.md",
    "CHANGELOG.md", "CITATION.cff",
)  # fmt: skip
FOLDERS = ("app", "core", "docs")
REPLACED = ("app/*", "core/*", "docs/*", "checkpoints/*")
"""Files that an earlier upload may have left: deleted by the next one unless it has them."""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds for the CPU: a tenth of the size of those of PyPI."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_CODE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
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


def check_index(url: str) -> None:
    """Raise UsageError unless ``url`` is an address of a package index."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or re.search(r"\s", url):
        raise UsageError(
            f"--torch-index {url} is not the address of a package index; that of PyTorch's builds "
            f"for the CPU is {CPU_INDEX}."
        )


def stage_space(
    bundles: Sequence[Bundle], folder: Path, root: Path = ROOT, torch_index: str | None = None
) -> None:
    """Copy the explorer and ``bundles`` into ``folder``.

    The Space's license is that of its weights, links to files that it does not have become text,
    and ``torch_index`` is a package index from which it installs torch.
    """
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
    _write_license(bundles, folder)
    for page in sorted(folder.rglob("*.md")):
        _drop_dead_links(page, folder)
    if torch_index is not None:
        check_index(torch_index)
        wanted = folder / "requirements.txt"
        lines = f"--extra-index-url {torch_index}\n{wanted.read_text(encoding='utf-8')}"
        wanted.write_text(lines, encoding="utf-8")


def _write_license(bundles: Sequence[Bundle], folder: Path) -> None:
    """State the license of the Space: the code's, unless a bundle has another one."""
    from huggingface_hub import metadata_load, metadata_save

    readme = folder / "README.md"
    if not readme.is_file():
        return
    found = {str(metadata(bundle)["license"]) for bundle in bundles} | {"apache-2.0"}
    said: dict[str, str | None] = {"license": "apache-2.0", "license_name": None}
    if found != {"apache-2.0"}:
        said = {"license": "other", "license_name": "see-the-model-cards"}
    together = {**(metadata_load(readme) or {}), **said}
    metadata_save(readme, {name: value for name, value in together.items() if value is not None})


def _drop_dead_links(page: Path, folder: Path) -> None:
    """Turn each link of a Markdown page to a file that ``folder`` does not have into its text."""
    text = page.read_text(encoding="utf-8")

    def keep(link: re.Match[str]) -> str:
        target = unquote(link[3].partition("#")[0])
        if not target or urlsplit(link[3]).scheme or target.startswith("//"):
            return link[0]
        place = (page.parent / target).resolve()
        if place.exists() and place.is_relative_to(folder.resolve()):
            return link[0]
        return link[2]

    parts = _CODE.split(text)  # every second part is code
    parts[::2] = [_LINK.sub(keep, part) for part in parts[::2]]
    changed = "".join(parts)
    if changed != text:
        page.write_text(changed, encoding="utf-8")

"""Hooks of the documentation's build (``mkdocs.yml``).

They do two things that MkDocs does not do by itself: they make pages from files outside ``docs/``,
and they let the API reference call the library ``regvq``, its name when it is installed, although
its folder is ``core/``.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = (
    *("RESULTS.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"),
    *("benchmarks/*.md", "benchmarks/*.py", "examples/*.py", "examples/*.ipynb"),
)
"""The files outside docs/ that pages link to, with their paths from the root of the project. In the
site they have the same paths."""

_TITLES = {
    "benchmarks/app_load.md": "Benchmark: 50 visitors of the explorer",
    "benchmarks/scale.md": "Model of large runs",
}
"""Titles of pages whose files have none."""

_library = tempfile.TemporaryDirectory(prefix="regvq-docs-")


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let mkdocstrings find the folder core/ as the package regvq."""
    link = Path(_library.name) / "regvq"
    if not link.exists():
        link.symlink_to(ROOT / "core", target_is_directory=True)
    handlers = config.plugins["mkdocstrings"].config.handlers
    handlers["python"]["paths"] = [_library.name]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of OUTSIDE to the site."""
    for pattern in OUTSIDE:
        for file in sorted(ROOT.glob(pattern)):
            path = file.relative_to(ROOT).as_posix()
            if file.suffix != ".md":
                files.append(File.generated(config, path, abs_src_path=str(file)))
                continue
            text = file.read_text(encoding="utf-8").replace("](docs/", "](")
            text = text.replace("](README.md", "](index.md")
            if path in _TITLES:
                text = f"# {_TITLES[path]}\n\n{text}"
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave docs/ into links within the site."""
    if page.file.generated_by is not None:
        return markdown
    return re.sub(r"\]\(\.\./", "](", markdown)

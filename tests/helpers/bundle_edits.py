"""Edits of a bundle's config.json, as a test needs them: sealed again, or without checksums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.bundles.storage import CHECKSUMS, write_json, write_sealed


def config_of(folder: Path) -> dict[str, Any]:
    """Return what config.json holds, without a check."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json with the SHA-256 of its new content."""
    write_sealed(folder / "config.json", config)


def unseal(folder: Path) -> None:
    """Make a bundle one of before checksums."""
    config = config_of(folder)
    write_json(
        folder / "config.json", {k: v for k, v in config.items() if k not in (CHECKSUMS, "sha256")}
    )


def numbers_of(state: Path) -> dict[str, Any]:
    """Return what state.json of a state folder holds, without checksums and the log's."""
    found = json.loads((state / "state.json").read_text(encoding="utf-8"))
    return {k: v for k, v in found.items() if k not in (CHECKSUMS, "sha256", "log")}

"""The numbers of a saved state, without the checksums of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def saved_numbers(run: Path) -> dict[str, Any]:
    """Return the numbers in the state of a run folder."""
    numbers = json.loads((run / "state/state.json").read_text(encoding="utf-8"))
    assert {"checksums", "sha256"} <= numbers.keys()
    return {key: value for key, value in numbers.items() if key not in ("checksums", "sha256")}

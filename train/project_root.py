"""Puts the project's root first on the module path, for the commands in this folder.

``python train/evaluate.py`` makes ``train/`` the first place where Python looks for modules, so
``import core`` would fail unless the root were added. Every command therefore begins with
``import project_root``; this is the only place that touches the path.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds core/, train/ and checkpoints/."""

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

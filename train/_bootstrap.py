"""Makes ``python train/run.py`` mean the module ``train.run``.

Python puts the folder of the file that it runs first on the module path, where any file of that
folder would shadow a package of the same name, and gives the file no package. Every command
therefore begins with ``import _bootstrap``, the one place that touches the path: the project's root
comes first, this folder last (a worker process that is started anew must find this module again).
"""

from __future__ import annotations

import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
PACKAGE = _FOLDER.name
"""The package of the commands: set as ``__package__``, it lets their relative imports work
(PEP 366)."""

_ends = (str(_FOLDER.parent), str(_FOLDER))
sys.path[:] = [_ends[0], *(entry for entry in sys.path if entry not in _ends), _ends[1]]

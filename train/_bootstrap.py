"""The module path of a command that is run as a file: ``python train/run.py`` is ``train.run``.

Python puts the folder of the file that it runs first on the module path, where each file of that
folder would shadow a package of the same name, and gives the file no package. Therefore every
command starts with ``import _bootstrap``, the only place that changes the path: the project's root
becomes the first entry, and this folder the last one (a new worker process must find this module,
too).
"""

from __future__ import annotations

import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
PACKAGE = _FOLDER.name
"""The package of the commands. As ``__package__``, it makes their relative imports work
(PEP 366)."""

_ends = (str(_FOLDER.parent), str(_FOLDER))
sys.path[:] = [_ends[0], *(entry for entry in sys.path if entry not in _ends), _ends[1]]

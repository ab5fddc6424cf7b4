"""``import regvq`` in the source tree: the library in ``core/``, by the name it has installed."""

import core  # noqa: F401  (registers itself as regvq)

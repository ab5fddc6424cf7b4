"""The command ``python -m core.data check NAME --root DIR``: see core.data.check."""

from .check import main

if __name__ == "__main__":
    raise SystemExit(main())

"""Functions that are replaced by one that notes how it is called."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


def recorded_calls(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[Any]:
    """Replace a function of a module; return the list of its calls from here on: the arguments
    without a name, and then a dict of those with one."""
    calls: list[Any] = []
    monkeypatch.setattr(module, name, lambda *given, **named: calls.append((*given, named)))
    return calls

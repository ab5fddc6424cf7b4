"""Faults in a process: an action at a given call of the file system beneath a folder.

The calls are counted from the interpreter's audit events (``open`` for writing, renames, removals,
folders, links, modes) and by wrappers of what has none: ``fsync``, the exchange of two names, and
the writing of tensors and of rows. An audit hook cannot be removed: ``install`` is for a process
that ends with its task.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_EVENTS = {
    *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod"),
    "os.truncate",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Fault:
    """An action at the call number ``at`` (from 1).

    ``action``: "kill" before the call; "tear", kill in the middle of it, if it writes; the name of
    an error that the call raises, such as "ENOSPC", at this and all later calls that need room; or
    the name of a signal that the process sends to itself, such as "SIGTERM" or "SIGSTOP".
    ``exchange``: False for a system that cannot exchange two names in one step.
    """

    at: int
    action: str = "kill"
    exchange: bool = True


class Injection:
    """The counter of calls, and the fault that it triggers."""

    def __init__(self, folder: Path, fault: Fault | None) -> None:
        self.folder, self.fault, self.calls = os.path.abspath(folder), fault, 0
        self.names: list[str] = []
        self._busy = False

    def call(self, name: str, path: object = None, needs_room: bool = True) -> None:
        """Count a call; kill the process or raise, if it is the one."""
        if self._busy:
            return
        self.calls += 1
        self.names.append(name)
        fault = self.fault
        if fault is None or self.calls < fault.at:
            return
        if fault.action.startswith("E"):
            if needs_room or fault.action == "EROFS":
                code = getattr(errno, fault.action)
                raise OSError(code, os.strerror(code), path if isinstance(path, str) else None)
        elif self.calls == fault.at and fault.action != "tear":
            self.act()

    def act(self) -> None:
        """Do what a fault by signal does."""
        action = self.fault.action if self.fault else ""
        number = signal.Signals[action] if action.startswith("SIG") else signal.SIGKILL
        os.kill(os.getpid(), number)

    @property
    def tears(self) -> bool:
        """True if the present call is to be torn."""
        fault = self.fault
        return fault is not None and fault.action == "tear" and self.calls == fault.at

    def heed(self, event: str, args: tuple[Any, ...]) -> None:
        """Count an audit event if it changes something beneath the folder."""
        if event == "open":
            path, mode, flags = args
            if isinstance(mode, str):
                writes = any(letter in mode for letter in "wax+")
            else:
                writes = bool(isinstance(flags, int) and flags & _WRITES)
            if writes and self._inside(path):
                self.call(f"open {_name(path)}", os.fspath(path))
        elif event in _EVENTS:
            relative = isinstance(args[-1], int) and args[-1] >= 0  # to the handle of a folder
            if relative or self._inside(args[0]):
                room = event not in ("os.remove", "os.rmdir", "os.truncate")
                self.call(f"{event} {_name(args[0])}", _text(args[0]), room)

    def _inside(self, path: object) -> bool:
        text = _text(path)
        return text is not None and os.path.abspath(text).startswith(self.folder)


def _text(path: object) -> str | None:
    if isinstance(path, (str, bytes, os.PathLike)):
        return os.fsdecode(path)
    return None


def _name(path: object) -> str:
    return os.path.basename(_text(path) or "?")


def install(folder: Path, fault: Fault | None) -> Injection:
    """Count this process's calls beneath ``folder`` from now on, and return the counter."""
    import safetensors.torch

    from core.bundles import replacement

    injection = Injection(folder, fault)
    if fault is not None and not fault.exchange:
        replacement._exchange_call = lambda: None
    injection_of = {
        (os, "fsync"): "fsync",
        (replacement, "exchange"): "exchange",
        (safetensors.torch, "save_file"): "tensors",
        (replacement, "_write_all"): "write",
    }
    for (owner, attribute), name in injection_of.items():
        _wrap(injection, owner, attribute, name)
    sys.addaudithook(injection.heed)
    return injection


def _wrap(injection: Injection, owner: Any, attribute: str, name: str) -> None:
    before: Callable[..., Any] = getattr(owner, attribute)

    def wrapped(*args: Any, **options: Any) -> Any:
        # Wrapped calls open files themselves; these are counted once.
        path = _text(args[1]) if len(args) > 1 and not isinstance(args[1], bytes) else None
        injection.call(f"{name} {_name(path)}" if path else name, path)
        if injection.tears and name == "tensors":
            before(*args, **options)
            os.truncate(args[1], os.path.getsize(args[1]) // 2)
            injection.act()
        if injection.tears and name == "write":
            before(args[0], args[1][: len(args[1]) // 2])
            injection.act()
        if name == "fsync":  # the system outlives its processes; a disk's sync takes long
            return None
        return before(*args, **options)

    setattr(owner, attribute, wrapped)

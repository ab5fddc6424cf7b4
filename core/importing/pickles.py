"""A reader of pickles that executes nothing.

A pickle is a program for a small stack machine whose GLOBAL and REDUCE instructions import and call
anything. This machine has the same instructions, but imports nothing: plain containers and tensors
are built, every other global is an inert ``Stub``, and a stub that is called is another stub. The
standard library's ``pickletools`` takes the instructions apart, so that no C code that allocates by
a number in the file is involved: a file costs as much memory as it has bytes, within limits.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

from ..errors import CheckpointError

MAX_BYTES = 256 * 2**20
"""Of one pickle: the tensors' data are not in it. The largest known have some megabytes."""
MAX_TEXT = 64 * 2**20
"""Bytes of one string: arrays of numpy are strings in a pickle."""
MAX_STEPS = 5_000_000
MAX_DEPTH = 64
"""Containers within containers; the published files have fewer than ten."""

_SCALARS = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True)
class Global:
    """A name that the pickle would have imported."""

    module: str
    name: str


class Stub:
    """Something that the pickle would have made by calling a global."""


@dataclass(frozen=True)
class StorageRef:
    """The numbers of one or several tensors, by their key in the archive."""

    key: str
    kind: str
    """The class that the file names, for example ``FloatStorage``."""
    count: int
    """The numbers in it; bytes in an ``UntypedStorage``."""


@dataclass(frozen=True)
class TensorRef:
    """A tensor as the pickle describes it; nothing in it has been checked."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str | None = None
    """The data type that the file names, where the storage has none."""


class _Mark:
    pass


_MARK = _Mark()


class BrokenPickle(CheckpointError):
    """A pickle that no program wrote, or that is beyond the limits."""


class _Bounded:
    """The stream with limits on each read and on all together."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, MAX_BYTES

    def read(self, count: int) -> bytes:
        if count < 0 or count > MAX_TEXT:
            raise BrokenPickle(f"it states a string of {count:,} bytes")
        self._spend(count)
        return self._stream.read(count)

    def readline(self) -> bytes:
        line = self._stream.readline(MAX_TEXT)
        self._spend(len(line))
        return line

    def tell(self) -> int:
        return 0

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise BrokenPickle(f"it is longer than {MAX_BYTES:,} bytes")


def read_pickle(stream: BinaryIO, storages: dict[str, StorageRef] | None = None) -> Any:
    """Return what the pickle at the stream's position describes, as containers, scalars,
    ``TensorRef`` and ``Stub``; the stream then stands behind it.

    All storages that the pickle mentions are added to ``storages``, by key. Raises BrokenPickle for
    what is no whole pickle or exceeds the limits.
    """
    try:
        return _Machine({} if storages is None else storages).run(stream)
    except BrokenPickle:
        raise
    except Exception as error:
        # pickletools raises ValueError, IndexError, KeyError, UnicodeDecodeError, struct.error, …
        # for a damaged stream, and a machine on wrong instructions fails in as many ways.
        raise BrokenPickle(f"it is damaged ({type(error).__name__})") from None


class _Machine:
    def __init__(self, storages: dict[str, StorageRef]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.depths: dict[int, int] = {}
        self.kept: list[Any] = []  # containers whose ids stand in ``depths`` must stay alive
        self.steps: dict[str, Callable[[Any], None]] = {
            name[4:]: getattr(self, name) for name in dir(self) if name.startswith("_op_")
        }

    def run(self, stream: BinaryIO) -> Any:
        bounded = cast(IO[bytes], _Bounded(stream))
        for count, (operation, argument, _) in enumerate(pickletools.genops(bounded)):
            name = operation.name
            if count > MAX_STEPS:
                raise BrokenPickle(f"it has more than {MAX_STEPS:,} instructions")
            if name == "STOP":
                return self.stack.pop()
            if name in _PUSHES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in self.steps:
                self.steps[name](argument)
            elif name not in ("PROTO", "FRAME"):
                raise BrokenPickle(f"it uses {name}, which no checkpoint needs")
        raise BrokenPickle("it has no end")

    # Marks and the memo

    def _op_MARK(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _op_POP(self, _: Any) -> None:
        self.stack.pop()

    def _op_POP_MARK(self, _: Any) -> None:
        self._to_mark()

    def _op_DUP(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _op_MEMOIZE(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_PUT(self, key: Any) -> None:
        self.memo[int(key)] = self.stack[-1]

    def _op_GET(self, key: Any) -> None:
        self.stack.append(self.memo[int(key)])

    _op_BINPUT = _op_LONG_BINPUT = _op_PUT
    _op_BINGET = _op_LONG_BINGET = _op_GET

    def _to_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise BrokenPickle("it ends a container that was not started")

    # Containers

    def _put(self, container: Any, items: Iterable[Any]) -> Any:
        """Note how deep a container nests now that ``items`` are in it."""
        below = max((self.depths.get(id(item), 0) for item in items), default=0)
        if id(container) not in self.depths:
            self.kept.append(container)
        depth = max(self.depths.get(id(container), 1), below + 1)
        if depth > MAX_DEPTH:
            raise BrokenPickle(f"its containers nest deeper than {MAX_DEPTH} levels")
        self.depths[id(container)] = depth
        return container

    def _push(self, container: Any, items: Iterable[Any] = ()) -> None:
        self.stack.append(self._put(container, items))

    def _op_EMPTY_LIST(self, _: Any) -> None:
        self._push([])

    _op_EMPTY_SET = _op_EMPTY_LIST  # a list: to hash what a file holds is work without need

    def _op_LIST(self, _: Any) -> None:
        items = self._to_mark()
        self._push(items, items)

    _op_FROZENSET = _op_LIST

    def _op_APPEND(self, _: Any) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _op_APPENDS(self, _: Any) -> None:
        self._extend(self._to_mark())

    _op_ADDITEMS = _op_APPENDS

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self._put(self.stack[-1], items).extend(items)

    def _op_EMPTY_TUPLE(self, _: Any) -> None:
        self._push(())

    def _op_TUPLE(self, _: Any) -> None:
        items = tuple(self._to_mark())
        self._push(items, items)

    def _op_TUPLE1(self, _: Any) -> None:
        self._tuple(1)

    def _op_TUPLE2(self, _: Any) -> None:
        self._tuple(2)

    def _op_TUPLE3(self, _: Any) -> None:
        self._tuple(3)

    def _tuple(self, count: int) -> None:
        items = tuple(self.stack.pop() for _ in range(count))[::-1]
        self._push(items, items)

    def _op_EMPTY_DICT(self, _: Any) -> None:
        self._push({})

    def _op_DICT(self, _: Any) -> None:
        items = self._to_mark()
        self._push({})
        self._set(items)

    def _op_SETITEM(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _op_SETITEMS(self, _: Any) -> None:
        self._set(self._to_mark())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            return  # of a stub, or of an object that is none here
        self._put(target, items)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, _SCALARS):  # a nested tuple could make hashing recurse without end
                target[key] = value

    # Globals

    def _op_GLOBAL(self, names: Any) -> None:
        module, _, name = names.partition(" ")
        self.stack.append(Global(module, name))

    def _op_STACK_GLOBAL(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise BrokenPickle("it names a global by something else than a string")
        self.stack.append(Global(module, name))

    def _op_EXT1(self, _: Any) -> None:
        self.stack.append(Stub())

    _op_EXT2 = _op_EXT4 = _op_EXT1

    def _op_INST(self, _: Any) -> None:
        self._to_mark()
        self.stack.append(Stub())

    _op_OBJ = _op_INST

    def _op_NEWOBJ(self, _: Any) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self._call(kind, arguments)

    _op_REDUCE = _op_NEWOBJ

    def _op_NEWOBJ_EX(self, _: Any) -> None:
        del self.stack[-3:]
        self.stack.append(Stub())

    def _op_BUILD(self, _: Any) -> None:
        self.stack.pop()  # the state of an object: an ordered dictionary's attributes, or a stub's

    def _call(self, kind: Any, arguments: Any) -> None:
        self.stack.append(Stub())
        if not isinstance(kind, Global) or not isinstance(arguments, tuple):
            return
        named = (kind.module, kind.name)
        if named in _DICTIONARIES:
            self.stack.pop()
            self._push({})
            pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
            for pair in pairs:  # Python 2 wrote an ordered dictionary as its pairs
                self._set(list(pair))
        elif named in _TENSORS:
            self.stack[-1] = _tensor(arguments)
        elif named in _WRAPPERS and arguments:
            self.stack[-1] = arguments[0]

    # Storages

    def _op_BINPERSID(self, _: Any) -> None:
        found = self.stack.pop()
        if not (isinstance(found, tuple) and len(found) in (5, 6) and found[0] == "storage"):
            raise BrokenPickle("it refers to something that is no storage")
        _, kind, key, _, count, *view = found
        name = kind.name if isinstance(kind, Global) else str(kind)[:60]
        if any(each is not None for each in view):
            raise BrokenPickle("it has views of storages, which torch has not written since 2017")
        if not (isinstance(key, str) and type(count) is int and count >= 0):
            raise BrokenPickle("it describes a storage without a key or a size")
        self.stack.append(self.storages.setdefault(key, StorageRef(key, name, count)))


def _tensor(arguments: tuple[Any, ...]) -> TensorRef | Stub:
    if len(arguments) < 4 or not isinstance(arguments[0], StorageRef):
        return Stub()
    storage, offset, shape, strides, *rest = arguments
    numbers = (offset, *shape, *strides) if isinstance(shape, tuple) else ()
    if not numbers or any(type(each) is not int for each in numbers):
        raise BrokenPickle("it describes a tensor whose shape is no list of integers")
    kind = next((each.name for each in rest if isinstance(each, Global)), None)
    return TensorRef(storage, offset, shape, tuple(strides), kind)


_PUSHES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_DICTIONARIES = {
    *(("collections", name) for name in ("OrderedDict", "defaultdict")),
    *((module, "dict") for module in ("builtins", "__builtin__")),
}
_TENSORS = {
    ("torch._utils", name)
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
}
_WRAPPERS = {
    ("torch", "Size"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
}
"""Functions that return their first argument, as far as it matters here."""

"""The items of a pickled dict, one after another, in memory that does not grow with their number.

Python's unpickler keeps everything: the dict, and all values that the file might refer to again (its memo). Here a first pass
    collects the references in the file, and a second one passes each item on and keeps only the referenced part of the memo. Both process
    opcodes, which takes 12 to 17 s of CPU time for a million vectors by name.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from cairn_trainer.errors import TrainerError
from cairn_trainer.foreign_arrays import STAND_INS, ArrayStandIn, DtypeStandIn, FileArray, FileBytes
from cairn_trainer.foreign_pickle import RefusedError, named, unpickling_errors
from cairn_trainer.limited_file import open_limited

Array = NDArray[Any] | FileArray

_LEFT_IN_FILE = 2**16
"""Content of more bytes than this is left in the file."""
_LONGEST_TEXT = 2**16
_MAX_REFERENCES = 1_000_000
"""Distinct values that a file refers to again; the reference's files have a dozen."""


def read_items(path: Path, on_item: Callable[[str, Array | None], None]) -> None:
    """Calls `on_item` with each key of a pickled dict, in the file's order, and its array; None for other values.

    Raises:
        TrainerError: `unreadable_file` if the file contains something else; those of `unpickling_errors` and of `on_item`.
    """
    _read(path, lambda key, value: on_item(key, value.value if isinstance(value, ArrayStandIn) else None), 'features')


def read_dict(path: Path, what: str) -> dict[str, Any]:
    """A small pickled dict: dicts, lists, tuples, strings and numbers; arrays are ArrayStandIns. `what` it should be is for messages.

    Raises:
        TrainerError: as `read_items`.
    """
    found: dict[str, Any] = {}
    _read(path, found.__setitem__, what)
    return found


def _memory_of(path: Path) -> int:
    """The bytes that reading a file and processing its items may take; the references to its items grow with their number."""
    return 2**31 + path.stat().st_size // 4


def _read(path: Path, on_item: Callable[[str, Any], None], what: str) -> None:
    with unpickling_errors(path), open_limited(path, _memory_of(path)) as file:
        references = _references(file)
        file.seek(0)
        found = _ItemUnpickler(file, path, references, _Items(on_item)).load()
    if not isinstance(found, _Items):
        raise TrainerError('unreadable_file', f'{path} contains a {type(found).__name__}, not {what}.')


class _Items:
    """Replaces the file's outermost dict."""

    def __init__(self, on_item: Callable[[str, Any], None]) -> None:
        self._on_item = on_item

    def __setitem__(self, key: object, value: object) -> None:
        if not isinstance(key, str):
            raise TypeError(f'a key is {named(key)}, not a string')
        self._on_item(key, value)


_SIZES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
"""Size in bytes of the length prefix of an argument."""
_ARGUMENTS = {code.code.encode('latin-1'): (code.name, code.arg.n if code.arg else 0) for code in pickletools.opcodes}


def _references(file: BinaryIO) -> set[int]:
    """The memo numbers that a pickle refers to. Errors in the file are left to the unpickler."""
    found: set[int] = set()
    read, readline = file.read, file.readline
    while code := read(1):
        name, size = _ARGUMENTS.get(code, ('STOP', 0))
        if size > 0:
            argument = read(size)
            if name in ('BINGET', 'LONG_BINGET'):
                found.add(int.from_bytes(argument, 'little'))
        elif size in _SIZES:
            length = int.from_bytes(read(_SIZES[size]), 'little')
            # Reading a little is faster than seeking, which discards the buffer.
            read(length) if length <= _LEFT_IN_FILE else file.seek(length, 1)
        elif size < 0:
            line = readline(_LONGEST_TEXT)
            if name == 'GET':
                found.add(int(line))
            if name in ('GLOBAL', 'INST'):
                readline(_LONGEST_TEXT)
        elif name == 'STOP':
            break
        if len(found) > _MAX_REFERENCES:
            raise ValueError(f'the file has references to more than {_MAX_REFERENCES} values')
    return found


_PLAIN_OPCODES = (
    *(pickle.MARK + pickle.STOP + pickle.POP + pickle.POP_MARK + pickle.PROTO),
    *(pickle.NONE + pickle.NEWTRUE + pickle.NEWFALSE + pickle.BININT + pickle.BININT1 + pickle.BININT2 + pickle.LONG1 + pickle.BINFLOAT),
    *(pickle.SHORT_BINBYTES + pickle.EMPTY_TUPLE + pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3),
    *(pickle.EMPTY_LIST + pickle.APPEND + pickle.APPENDS + pickle.SETITEM + pickle.SETITEMS),
    *(pickle.GLOBAL + pickle.STACK_GLOBAL + pickle.GET + pickle.BINGET + pickle.LONG_BINGET),
)
"""The opcodes with Python's implementation. None of them calls, creates or changes an object."""


class _ItemUnpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """The pure Python unpickler, whose opcodes can be replaced."""

    def __init__(self, file: BinaryIO, path: Path, references: set[int], items: _Items) -> None:
        super().__init__(file)
        self._file = file
        self._path = path
        self._references = references
        self._items: _Items | None = items
        self._memoized = 0

    def load(self) -> Any:
        self.metastack: list[list[Any]] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        self.proto = 0
        # Frames only limit reads, which the file's buffer already does.
        read = self.read = self._file.read
        self.readline = lambda: self._file.readline(_LONGEST_TEXT)
        dispatch = self.dispatch
        try:
            while code := read(1):
                opcode = dispatch.get(code[0])
                if opcode is None:
                    raise pickle.UnpicklingError(f'the opcode {code!r}, which files of its kind do not need')
                opcode(self)
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            return stop.value
        raise EOFError('the file ends before its pickle does')

    def find_class(self, module: str, name: str) -> Any:
        found = STAND_INS.get((module, name))
        if found is None:
            raise RefusedError(f'{module}.{name}')
        return found

    def _pass_frame(self) -> None:
        self.read(8)

    def _content(self, size: int) -> None:
        length = int.from_bytes(self.read(size), 'little')
        if length <= _LEFT_IN_FILE:
            self.append(self.read(length))
            return
        self.append(FileBytes(self._path, self._file.tell(), length))
        self._file.seek(length, 1)

    def _text(self, size: int) -> None:
        length = int.from_bytes(self.read(size), 'little')
        if length > _LONGEST_TEXT:
            raise ValueError(f'a string of {length} bytes')
        self.append(str(self.read(length), 'utf-8', 'surrogatepass'))

    def _put(self, number: int) -> None:
        if number in self._references:
            self.memo[number] = self.stack[-1]

    def _memoize(self) -> None:
        self._put(self._memoized)
        self._memoized += 1

    def _begin_dict(self) -> None:
        is_outermost = not self.stack and not self.metastack and self._items is not None
        self.append(self._items if is_outermost else {})
        self._items = None

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if function not in STAND_INS.values():
            raise RefusedError(named(function))
        self.stack[-1] = function(*arguments)

    def _build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if not isinstance(built, ArrayStandIn | DtypeStandIn):
            raise RefusedError(f'a state of {named(built)}')
        built.__setstate__(state)

    dispatch = {code: pickle._Unpickler.dispatch[code] for code in _PLAIN_OPCODES} | {  # type: ignore[attr-defined]
        pickle.FRAME[0]: _pass_frame,
        pickle.BINBYTES[0]: lambda self: self._content(4),
        pickle.BINBYTES8[0]: lambda self: self._content(8),
        pickle.BYTEARRAY8[0]: lambda self: self._content(8),
        pickle.SHORT_BINUNICODE[0]: lambda self: self._text(1),
        pickle.BINUNICODE[0]: lambda self: self._text(4),
        pickle.BINUNICODE8[0]: lambda self: self._text(8),
        pickle.BINPUT[0]: lambda self: self._put(self.read(1)[0]),
        pickle.LONG_BINPUT[0]: lambda self: self._put(struct.unpack('<I', self.read(4))[0]),
        pickle.MEMOIZE[0]: _memoize,
        pickle.EMPTY_DICT[0]: _begin_dict,
        pickle.REDUCE[0]: _reduce,
        pickle.BUILD[0]: _build,
    }

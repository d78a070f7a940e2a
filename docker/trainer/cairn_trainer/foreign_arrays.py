"""Arrays of numbers or strings in numpy's pickles, without calling numpy's functions: names in the pickles resolve to
stand-ins, which take the same arguments and check them. The content of a large array stays in the file and is read in rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cairn_trainer.foreign_pickle import RefusedError, named

_PLAIN_DTYPE = re.compile(r'f[248]|[iu][1248]|U\d{1,4}')


@dataclass(frozen=True)
class FileBytes:
    """Bytes in a pickle, not read yet."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True)
class FileArray:
    """An array whose content is in a file: numbers or strings, in one or two dimensions."""

    content: FileBytes
    dtype: np.dtype
    shape: tuple[int, ...]
    is_fortran: bool

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Rows from the file: [stop - start, ...]."""
        start, stop, _ = rows.indices(len(self))
        width = math.prod(self.shape[1:])
        with self.content.path.open('rb', buffering=0) as file:
            if not self.is_fortran:
                return self._read(file, start * width, (stop - start) * width).reshape(stop - start, *self.shape[1:])
            columns = [self._read(file, column * len(self) + start, stop - start) for column in range(width)]
        return np.stack(columns, axis=1).reshape(stop - start, *self.shape[1:])

    def _read(self, file: Any, first: int, count: int) -> NDArray[Any]:
        file.seek(self.content.offset + first * self.dtype.itemsize)
        found = np.empty(count, self.dtype)
        view = memoryview(found.view(np.uint8)) if count else memoryview(b'')
        while view and (many := file.readinto(view)):
            view = view[many:]
        if view:
            raise EOFError(f'{len(view)} bytes of an array are missing')
        return found


class DtypeStandIn:
    """Replaces numpy.dtype: numbers, or strings."""

    def __init__(self, name: object, _align: object = False, _copy: object = True) -> None:
        if not isinstance(name, str) or not _PLAIN_DTYPE.fullmatch(name.lstrip('<>=|')):
            raise RefusedError(f'an array of {named(name)}')
        self.value = np.dtype(name.lstrip('=|'))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # (version, byte order, ...): the rest describes records, which are not supported.
        if state[1] in ('<', '>'):
            self.value = self.value.newbyteorder(state[1])


class ArrayStandIn:
    """Replaces the empty array that numpy's pickles begin with; its state has the content."""

    value: NDArray[Any] | FileArray = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, content = state
        self.value = _array_of(content, dtype, shape, 'F' if is_fortran else 'C')


class _ArrayType:
    """Replaces numpy.ndarray, which the pickles only name."""


def _begin(kind: object, *_: object) -> ArrayStandIn:
    if kind is not _ArrayType:
        raise RefusedError('an array of another class')
    return ArrayStandIn()


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> ArrayStandIn:
    array = ArrayStandIn()
    array.value = _array_of(content, dtype, shape, order)
    return array


def _array_of(content: object, dtype: object, shape: object, order: object) -> NDArray[Any] | FileArray:
    if not isinstance(dtype, DtypeStandIn) or not isinstance(content, bytes | bytearray | FileBytes) or order not in ('C', 'F'):
        raise RefusedError('an array of something other than numbers or strings')
    if isinstance(content, bytes | bytearray):
        return np.frombuffer(content, dtype.value).reshape(shape, order=order)  # type: ignore[call-overload]
    sides = shape if isinstance(shape, tuple) else (shape,)
    if not all(type(side) is int and side >= 0 for side in sides) or math.prod(sides) * dtype.value.itemsize != content.length:
        raise ValueError(f'an array of {content.length} bytes cannot have the shape {named(shape)}')
    return FileArray(content, dtype.value, sides, order == 'F')


def _scalar(dtype: object, content: object) -> float | int | str:
    if not isinstance(dtype, DtypeStandIn) or not isinstance(content, bytes) or len(content) != dtype.value.itemsize:
        raise RefusedError('a number of another form')
    return np.frombuffer(content, dtype.value)[0].item()


STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ('numpy', 'ndarray'): _ArrayType,
    ('numpy', 'dtype'): DtypeStandIn,
    # numpy 2 moved its internals from `core` to `_core`.
    **{(f'numpy.{core}.multiarray', '_reconstruct'): _begin for core in ('core', '_core')},
    **{(f'numpy.{core}.multiarray', 'scalar'): _scalar for core in ('core', '_core')},
    **{(f'numpy.{core}.numeric', '_frombuffer'): _from_buffer for core in ('core', '_core')},
}
"""The names that a pickle may use, and their replacements."""

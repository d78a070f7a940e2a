"""Pickles from elsewhere: plain values and arrays of numbers or texts, and nothing else. No class or function of the file is ever called.

What numpy's own pickles name is answered by stand-ins, which take the same arguments and check them.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cairn_trainer.errors import TrainerError, of_os_error

_PLAIN_DTYPE = re.compile(r'f[248]|U\d{1,4}')


class _Refused(pickle.UnpicklingError):
    """What the file names and no file of its kind needs."""


def named(value: object) -> str:
    """A value of a file for a message: short, and never written out where it is nested, which may take for ever."""
    if isinstance(value, str):
        return repr(value[:100])
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**15):
        return repr(value)
    return f'a {type(value).__name__}'


class _Dtype:
    """Stands for numpy.dtype: floating point, or texts."""

    def __init__(self, name: object, _align: object = False, _copy: object = True) -> None:
        if not isinstance(name, str) or not _PLAIN_DTYPE.fullmatch(name.lstrip('<>=|')):
            raise _Refused(f'an array of {named(name)}')
        self.value = np.dtype(name.lstrip('=|'))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # (version, byte order, ...): the rest describes records, which these are not.
        if state[1] in ('<', '>'):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stands for the empty array that numpy's pickles begin with; its state has the content."""

    value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, content = state
        self.value = _array_of(content, dtype, shape, 'F' if is_fortran else 'C')


class _ArrayType:
    """Stands for numpy.ndarray, which the pickles only name."""


def _begin(kind: object, *_: object) -> _Array:
    if kind is not _ArrayType:
        raise _Refused('an array of another class')
    return _Array()


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.value = _array_of(content, dtype, shape, order)
    return array


def _array_of(content: object, dtype: object, shape: object, order: object) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray) or order not in ('C', 'F'):
        raise _Refused('an array that is more than numbers or texts')
    return np.frombuffer(content, dtype.value).reshape(shape, order=order)  # type: ignore[call-overload]


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ('numpy', 'ndarray'): _ArrayType,
    ('numpy', 'dtype'): _Dtype,
    # numpy 2 moved its inside from `core` to `_core`.
    **{(f'numpy.{core}.multiarray', '_reconstruct'): _begin for core in ('core', '_core')},
    **{(f'numpy.{core}.numeric', '_frombuffer'): _from_buffer for core in ('core', '_core')},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, *, has_arrays: bool) -> None:
        super().__init__(file)
        self._stand_ins = _STAND_INS if has_arrays else {}

    def find_class(self, module: str, name: str) -> Any:
        found = self._stand_ins.get((module, name))
        if found is None:
            raise _Refused(f'{module}.{name}')
        return found


def read_pickle(path: Path, *, has_arrays: bool) -> Any:
    """What a pickle holds: lists, tuples, dicts, texts and numbers; with `has_arrays` also arrays, for which see `array_in`.

    Raises:
        TrainerError: `unsafe_file`, naming what the file asks for beyond that; `unreadable_file` when it is cut off or no pickle;
            `missing_file`.
    """
    try:
        with path.open('rb') as file:
            return _Unpickler(file, has_arrays=has_arrays).load()
    except OSError as error:
        raise of_os_error(error, f'reading {path}') from error
    except _Refused as error:
        raise TrainerError('unsafe_file', f'{path} asks for {error} when it is read; a file of its kind needs nothing of that.') from error
    except Exception as error:  # pickle lets many kinds through, by what is wrong where
        raise TrainerError('unreadable_file', f'{path} is no whole pickle: {type(error).__name__}: {error}'[:500]) from error


def array_in(value: object) -> np.ndarray | None:
    """The array that a value of `read_pickle` is; None where it is none."""
    return value.value if isinstance(value, _Array) else None

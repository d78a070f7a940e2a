"""Third-party pickles: only plain values. No class or function named in the file is ever called."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cairn_trainer.errors import TrainerError, from_os_error
from cairn_trainer.limited_file import open_limited

_OTHER_MEMORY = 2**29
"""Bytes that reading a list may take beside eight times the file's size; rows of the reference's take less than three."""


class RefusedError(pickle.UnpicklingError):
    """The file uses a name that files of its kind do not need."""


def named(value: object) -> str:
    """A value of a file for a message: short; nested values are not printed, which could take forever."""
    if isinstance(value, str):
        return repr(value[:100])
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**15):
        return repr(value)
    return f'a {type(value).__name__}'


@contextmanager
def unpickling_errors(path: Path) -> Iterator[None]:
    """Converts errors of unpickling to TrainerErrors.

    Raises:
        TrainerError: `unsafe_file`, naming what the file requests beyond plain data; `unreadable_file` if it is truncated or not a pickle;
            `missing_file`.
    """
    try:
        yield
    except TrainerError:
        raise
    except OSError as error:
        raise from_os_error(error, f'reading {path}') from error
    except RefusedError as error:
        raise TrainerError('unsafe_file', f'{path} requests {error} when it is loaded, which files of its kind do not need.') from error
    except MemoryError as error:
        raise too_much_memory(path) from error
    except Exception as error:  # pickle raises many types of exceptions, depending on the fault
        raise TrainerError('unreadable_file', f'{path} is not a complete pickle: {type(error).__name__}: {error}'[:500]) from error


def too_much_memory(path: Path) -> TrainerError:
    return TrainerError('unreadable_file', f'{path} would take more memory than a file of its size and kind needs.')


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise RefusedError(f'{module}.{name}')


def read_pickle(path: Path) -> Any:
    """The content of a pickle: lists, tuples, dicts, strings and numbers.

    Raises:
        TrainerError: those of `unpickling_errors`.
    """
    with unpickling_errors(path), open_limited(path, 8 * path.stat().st_size + _OTHER_MEMORY) as file:
        return _Unpickler(file).load()

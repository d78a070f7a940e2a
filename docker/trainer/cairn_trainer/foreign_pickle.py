"""Pickles from elsewhere: plain values, and nothing else. No class or function of the file is ever called."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cairn_trainer.errors import TrainerError, of_os_error


class RefusedError(pickle.UnpicklingError):
    """What the file names and no file of its kind needs."""


def named(value: object) -> str:
    """A value of a file for a message: short, and never written out where it is nested, which may take for ever."""
    if isinstance(value, str):
        return repr(value[:100])
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**15):
        return repr(value)
    return f'a {type(value).__name__}'


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Gives the faults of unpickling their codes.

    Raises:
        TrainerError: `unsafe_file`, naming what the file asks for beyond plain data; `unreadable_file` when it is cut off or no pickle;
            `missing_file`.
    """
    try:
        yield
    except TrainerError:
        raise
    except OSError as error:
        raise of_os_error(error, f'reading {path}') from error
    except RefusedError as error:
        raise TrainerError('unsafe_file', f'{path} asks for {error} when it is read; a file of its kind needs nothing of that.') from error
    except Exception as error:  # pickle lets many kinds through, by what is wrong where
        raise TrainerError('unreadable_file', f'{path} is no whole pickle: {type(error).__name__}: {error}'[:500]) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise RefusedError(f'{module}.{name}')


def read_pickle(path: Path) -> Any:
    """What a pickle holds: lists, tuples, dicts, texts and numbers.

    Raises:
        TrainerError: those of `told_of`.
    """
    with told_of(path), path.open('rb') as file:
        return _Unpickler(file).load()

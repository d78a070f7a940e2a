"""Failures with a code of Cairn's error table, and the process exit code of each."""

from __future__ import annotations

import errno
import json
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from cairn_trainer.foreign_text import plain_text

EXIT_OK = 0
EXIT_DATA = 65
EXIT_INTERNAL = 70
EXIT_PREEMPTED = 75
EXIT_CONFIGURATION = 78

_EXIT_OF_CODE = {
    'missing_file': EXIT_DATA,
    'missing_column': EXIT_DATA,
    'bad_row': EXIT_DATA,
    'too_many_bad_images': EXIT_DATA,
    'training_diverged': EXIT_DATA,
    'model_mismatch': EXIT_DATA,
    'corrupt_artifact': EXIT_DATA,
    'dataset_changed': EXIT_DATA,
    'source_denied': EXIT_DATA,
    'corrupt_tar': EXIT_DATA,
    'name_taken': EXIT_CONFIGURATION,
    'unsafe_file': EXIT_DATA,
    'unreadable_file': EXIT_DATA,
    'invalid_configuration': EXIT_CONFIGURATION,
    'protocol_mismatch': EXIT_CONFIGURATION,
    'shared_memory_full': EXIT_CONFIGURATION,
    'storage_full': EXIT_INTERNAL,
    'storage_failed': EXIT_INTERNAL,
    'program_failed': EXIT_INTERNAL,
    'internal': EXIT_INTERNAL,
}

# The messages of torch and NCCL for a full /dev/shm: before they write to it, or when the kernel kills a loader process that does.
_SHARED_MEMORY_FULL = re.compile(
    r'unable to allocate shared memory|write to file </torch_.*No space left|/dev/shm/.*No space left|killed by signal: Bus error'
)


class TrainerError(Exception):
    """An error that ends a stage.

    Attributes:
        code: A code of the error table.
        is_agreed: True if every rank raises the same error at the same step, so that a barrier is safe.
    """

    def __init__(self, code: str, message: str, *, is_agreed: bool = False) -> None:
        super().__init__(plain_text(message))  # messages quote third-party files
        self.code = code
        self.is_agreed = is_agreed

    @property
    def exit_code(self) -> int:
        return _EXIT_OF_CODE[self.code]


def from_os_error(error: OSError, doing: str) -> TrainerError:
    """The error for a failed write or read of a file; `doing` describes the operation ('writing /out/checkpoint-000123.pt')."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrainerError('storage_full', f'No space is left while {doing}: {error.strerror}. Free space and run the stage again.')
    if isinstance(error, FileNotFoundError):
        return TrainerError('missing_file', f'File not found while {doing}: {error.filename}.')
    if isinstance(error, IsADirectoryError):
        return TrainerError('missing_file', f'Found a folder instead of a file while {doing}.')
    return TrainerError('internal', f'Error while {doing}: {error}.')


def from_unexpected(error: BaseException) -> TrainerError:
    """The error for an unexpected exception: its type, its message and the end of its traceback. Recognizes a full /dev/shm."""
    for line in _lines_of(error):
        if _SHARED_MEMORY_FULL.search(line):
            return shared_memory_full(line.rstrip('.'))
    last = ''.join(traceback.format_exception(error)[-3:]).strip()
    return TrainerError('internal', f'{type(error).__name__}: {error}\n{last}')


def _lines_of(error: BaseException | None) -> Iterator[str]:
    """The messages of an error and its causes: torch mentions a loader process's signal only in the cause."""
    while error is not None:
        yield from map(str.strip, str(error).splitlines())
        error = error.__cause__ or error.__context__


def from_ended_process(what: str, exit_code: int) -> TrainerError:
    """The error for a process that ended unexpectedly; `what` is the process, a negative `exit_code` the signal that killed it."""
    how = f'was killed by {signal.Signals(-exit_code).name}' if exit_code < 0 else f'ended with exit code {exit_code}'
    if exit_code == -signal.SIGBUS:
        # The kernel's response to a write to shared memory that is full.
        return shared_memory_full(f'{what} {how}')
    hint = ' The kernel kills the largest process when memory runs out.' if exit_code == -signal.SIGKILL else ''
    return TrainerError('program_failed', f'{what} {how}.{hint}')


def shared_memory_full(how: str) -> TrainerError:
    """The error for a full /dev/shm; `how` is the symptom."""
    remedy = 'Lower loaderWorkers or batch, or raise sharedMemory of the pool'
    return TrainerError('shared_memory_full', f'Shared memory is full: {how}. {remedy}.')


def answer_with(work: Callable[[], dict[str, Any]]) -> int:
    """Prints the result of `work`, or `{"code", "message", "mismatches"}` if it fails; returns the exit code."""
    try:
        answer = work()
    except Exception as error:  # noqa: BLE001 - reported below with its code
        known = error if isinstance(error, TrainerError) else from_unexpected(error)
        if known is not error:
            traceback.print_exc(file=sys.stderr)
        print(json.dumps({'code': known.code, 'message': str(known), 'mismatches': getattr(known, 'mismatches', [])}))
        return known.exit_code
    print(json.dumps(answer))
    return EXIT_OK

"""Batches from loader processes, which survive a stop signal to their process group and whose failures are reported in limited time."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cairn_trainer.errors import TrainerError, from_ended_process
from cairn_trainer.lifetime import die_with_parent

# Less than the 600 s after which an agent considers a silent program hung, so that the reason is reported.
_STUCK_SECONDS = 300
_END_SECONDS = 1.0
_BLOCKED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


class _Fault(NamedTuple):
    """A TrainerError passed out of a loader process. As an exception it would arrive as text."""

    code: str
    message: str


class _Guarded(Dataset):
    """A dataset that returns TrainerErrors as items."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._dataset[key]
        except TrainerError as error:
            return _Fault(error.code, str(error))


def load(
    dataset: Dataset, keys: Iterable[Sequence[Any]], collate: Callable[[list[Any]], tuple], *, workers: int, pin: bool = False
) -> Iterator[Any]:
    """One collated batch per list of the dataset's keys, in order; in `workers` loader processes, or in this one.

    Raises:
        TrainerError: what the dataset raises; `shared_memory_full` or `program_failed` if a loader process ended or hangs.
    """
    loader = DataLoader(
        _Guarded(dataset),
        batch_sampler=keys,  # type: ignore[arg-type]
        collate_fn=_collated(collate, is_shared=workers > 0),
        num_workers=workers,
        pin_memory=pin,
        # A separate generator: the loader draws a seed, which must not advance the rank's generator.
        generator=torch.Generator(),
        worker_init_fn=_begin_worker if workers else None,
        multiprocessing_context='fork' if workers else None,
    )
    if workers == 0:
        yield from _unpacked(iter(loader), [])
        return
    handler = signal.getsignal(signal.SIGCHLD)
    batches, processes = _begin(loader)
    try:
        yield from _unpacked(batches, processes)
    finally:
        _end(processes)
        signal.signal(signal.SIGCHLD, handler)


def _begin(loader: DataLoader) -> tuple[Iterator[Any], list[BaseProcess]]:
    """The loader's batches and its processes.

    They ignore stop signals: a signal to the whole group is handled by the rank. From now on the unexpected end of one of them is
    raised in the main thread immediately, wherever it is.
    """
    before = multiprocessing.active_children()
    # Blocked signals are inherited by a fork, from its first moment.
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        batches = iter(loader)
        processes = [process for process in multiprocessing.active_children() if process not in before]
        # Replaces torch's handler, which raises a RuntimeError: inside a pass that looks like the end of another rank.
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: _look_for_ends(processes))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
    return batches, processes


def _look_for_ends(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.exitcode not in (None, 0):
            raise from_ended_process(f'A loader process (pid {process.pid})', process.exitcode)


def _end(processes: Sequence[BaseProcess]) -> None:
    """Kills the remaining processes: torch would wait five seconds for each that hangs."""
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    for process in processes:
        process.kill()
    deadline = time.monotonic() + _END_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


def _unpacked(batches: Iterator[Any], processes: Sequence[BaseProcess]) -> Iterator[Any]:
    while True:
        try:
            with _limited():
                batch = next(batches)
        except StopIteration:
            return
        except TrainerError:
            raise
        except Exception:
            # The effects of a loader process's end may be seen before the end itself.
            ended = connection.wait([process.sentinel for process in processes], _END_SECONDS)
            for process in processes:
                if process.sentinel in ended:
                    process.join()
            _look_for_ends(processes)
            raise
        if isinstance(batch, _Fault):
            raise TrainerError(batch.code, batch.message)
        yield batch


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Limits the wait for a batch. torch limits the wait on its queue, but not on a loader process that transfers shared memory."""

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        message = f'No batch of images arrived within {_STUCK_SECONDS} s. Check whether the file system of the images hangs.'
        raise TrainerError('program_failed', message)

    handler = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_STUCK_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def _collated(collate: Callable[[list[Any]], tuple], *, is_shared: bool) -> Callable[[list[Any]], tuple]:
    """Collates, in a loader process into shared memory, through which the batch is transferred.

    torch would do this in a thread, which prints an error if the memory is full and continues: the rank would wait forever.
    """

    def collated(samples: list[Any]) -> tuple:
        batch = next((sample for sample in samples if isinstance(sample, _Fault)), None) or collate(samples)
        for part in batch if is_shared else ():
            if isinstance(part, Tensor) and part.numel() > 0:
                part.share_memory_()
        return batch

    return collated


def _begin_worker(_number: int) -> None:
    die_with_parent()

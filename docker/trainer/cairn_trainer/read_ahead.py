"""Which images of tars are needed next: the agent reads them in large ranges before they are asked for one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cairn_trainer.config import TrainSettings
from cairn_trainer.lists import ImageList
from cairn_trainer.samplers import Sampler
from cairn_trainer.served_images import Announcements

_PREFETCHED = 2
"""Batches that PyTorch hands to each loader process before they are needed."""


@dataclass
class _EpochRuns:
    """The runs of an epoch, by the positions of their first and of their last rows, and how many have been announced and withdrawn."""

    runs: NDArray[np.int64]
    first: NDArray[np.int64]
    runs_by_last: NDArray[np.int64]
    last: NDArray[np.int64]
    announced: int = 0
    withdrawn: int = 0


class ReadAhead:
    """Announces the runs of tars that are needed soon, and withdraws those that are not needed any more.

    Positions count the rows of all epochs, in the order in which this rank reads them.
    """

    def __init__(
        self,
        images: ImageList,
        announcements: Announcements,
        order_of: Callable[[int], NDArray[np.int64]],
        *,
        rows_per_epoch: int,
        epochs: int,
        ahead: int,
    ) -> None:
        """
        Args:
            images: A list in tars.
            order_of: The rows of an epoch, at least `rows_per_epoch`.
            ahead: A run is announced when its first row is this many rows away.
        """
        self._images = images
        self._announcements = announcements
        self._order_of = order_of
        self._rows_per_epoch = rows_per_epoch
        self._epochs = epochs
        self._ahead = ahead
        self._next_epoch: int | None = None
        self._open: list[_EpochRuns] = []

    def advance(self, position: int, *, done: int) -> None:
        """The row at `position` is about to be read; rows before `done` are not read again."""
        if self._next_epoch is None:
            self._next_epoch = position // self._rows_per_epoch
        while self._next_epoch < self._epochs and self._next_epoch * self._rows_per_epoch < position + self._ahead:
            self._open.append(self._runs_of(self._next_epoch, done))
            self._next_epoch += 1
        for epoch in self._open:
            until = int(np.searchsorted(epoch.first, position + self._ahead))
            for run in epoch.runs[epoch.announced : until].tolist():
                self._announcements.announce(run, self._images.describe_run(run))
            epoch.announced = max(epoch.announced, until)
            over = int(np.searchsorted(epoch.last, done))
            for run in epoch.runs_by_last[epoch.withdrawn : over].tolist():
                self._announcements.withdraw(run)
            epoch.withdrawn = over
        self._open = [epoch for epoch in self._open if epoch.withdrawn < len(epoch.last)]

    def through(self, keys: Iterable[Sequence[Any]], *, first: int, batch: int, workers: int) -> Iterator[Sequence[Any]]:
        """The keys of batches of `batch` rows, the first of them at the position `first`: each moves this on as the loaders get it."""
        # Batches that the loaders have got and may not have read.
        unread = max(1, workers * _PREFETCHED) * batch
        for number, key in enumerate(keys):
            position = first + number * batch
            self.advance(position, done=max(first, position - unread))
            yield key

    def close(self) -> None:
        """Withdraws what is left."""
        self._announcements.close()

    def _runs_of(self, epoch: int, done: int) -> _EpochRuns:
        start = epoch * self._rows_per_epoch
        # A stage that goes on in the middle of an epoch does not need the runs before.
        skipped = max(0, done - start)
        runs = self._images.runs[self._order_of(epoch)[: self._rows_per_epoch]][skipped:]
        found, first = np.unique(runs, return_index=True)
        last = len(runs) - 1 - np.unique(runs[::-1], return_index=True)[1]
        by_first, by_last = np.argsort(first, kind='stable'), np.argsort(last, kind='stable')
        start += skipped
        return _EpochRuns(found[by_first], start + first[by_first], found[by_last], start + last[by_last])


def read_ahead_of(images: ImageList, settings: TrainSettings, sampler: Sampler, world: int) -> ReadAhead | None:
    """What one of `world` ranks announces in a stage; None where the agent does not read the images, or the whole list is shuffled: then
    all runs are in use all the time."""
    announcements = None if settings.shuffle_buffer is None else images.announcements()
    if announcements is None or settings.shuffle_buffer is None:
        return None
    return ReadAhead(
        images,
        announcements,
        sampler.order,
        rows_per_epoch=sampler.steps_per_epoch * settings.batches_per_step * settings.batch,
        epochs=settings.last_epoch or settings.epochs,
        ahead=max(2 * settings.batch, settings.shuffle_buffer // (8 * world)),
    )

"""Which rows a rank trains on in an epoch: pure functions of (seed, epoch, rank, world), so that a resumed run draws what it would have.

Rows with label -1 (their landmark is unknown) never reach the loss: both samplers draw from the rows with a label only, and count only
these when they size an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cairn_trainer.errors import TrainerError
from cairn_trainer.lists import CONTINENTS, ImageList

_CONTINENT_PERCENT = dict(zip(CONTINENTS, (50, 20, 15, 10, 2, 1, 1, 1), strict=True))
_CLEAN_PERCENT = 66
# Keeps the two samplers' draws and the augmentation's apart where seed and epoch are the same.
_SOFTMAX_STREAM, _GLD_STREAM = 1, 2


class Sampler(Protocol):
    """Rows by epoch. `warnings` tells what the list lacks and what is done instead."""

    steps_per_epoch: int
    warnings: list[str]

    def order(self, epoch: int) -> NDArray[np.int64]:
        """This rank's rows in the epoch (counted from 0), at least `steps_per_epoch x batch`."""
        ...


def make_sampler(name: str, images: ImageList, *, batch: int, seed: int, rank: int, world: int) -> Sampler:
    """The sampler `softmax` or `gld` over a list.

    Raises:
        TrainerError: `bad_row` when no row has a label, and what `ImageList.continents` raises.
    """
    rows = np.flatnonzero(images.labels >= 0)
    if len(rows) == 0:
        raise TrainerError('bad_row', 'No row of the list has a label, so there is nothing to train on.')
    if name == 'softmax':
        return SoftmaxSampler(rows, batch=batch, seed=seed, rank=rank, world=world)
    return GldSampler(rows, images.continents()[rows], images.is_noisy[rows], batch=batch, seed=seed, rank=rank, world=world)


class SoftmaxSampler:
    """One shuffle of all rows an epoch, dealt out to the ranks in turn.

    No row comes twice in an epoch. The rows left over when no full step remains are dropped: others in each epoch. A list smaller than
    one step is repeated to fill it.
    """

    def __init__(self, rows: NDArray[np.int64], *, batch: int, seed: int, rank: int, world: int) -> None:
        self._rows = rows
        self._seed = seed
        self._rank = rank
        self._world = world
        self.steps_per_epoch = max(1, len(rows) // (batch * world))
        self._total = self.steps_per_epoch * batch * world
        self.warnings: list[str] = []

    def order(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.Generator(np.random.PCG64([self._seed, epoch, _SOFTMAX_STREAM]))
        return np.resize(random.permutation(self._rows), self._total)[self._rank :: self._world]


class GldSampler:
    """Continent-aware draws with replacement, each rank its own.

    A rank draws L = rows / world (rounded down) an epoch: of each continent its share of L, of these 66 % clean and the rest noisy, each
    rounded down; then shuffles. Where a continent has no clean (no noisy) row its noisy (clean) ones are drawn; where it has none at all,
    its share is drawn from the whole list.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        continents: NDArray[np.int8],
        is_noisy: NDArray[np.bool_],
        *,
        batch: int,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        self._seed = seed
        self._rank = rank
        self.warnings: list[str] = []
        length = max(len(rows) // world, batch)
        self._cells: list[tuple[NDArray[np.int64], int]] = []
        for number, name in enumerate(CONTINENTS):
            draws = length * _CONTINENT_PERCENT[name] // 100
            clean_draws = draws * _CLEAN_PERCENT // 100
            of_continent = continents == number
            clean, noisy = rows[of_continent & ~is_noisy], rows[of_continent & is_noisy]
            self._add_cell(f'clean rows of {name}', clean, [('its noisy rows', noisy), ('the whole list', rows)], clean_draws)
            self._add_cell(f'noisy rows of {name}', noisy, [('its clean rows', clean), ('the whole list', rows)], draws - clean_draws)
        drawn = sum(draws for _, draws in self._cells)
        if drawn < batch:
            # Rounding down in sixteen cells can leave a tiny list short of one step.
            self._cells.append((rows, batch - drawn))
        self.steps_per_epoch = max(1, drawn // batch)

    def _add_cell(self, name: str, rows: NDArray[np.int64], instead: list[tuple[str, NDArray[np.int64]]], draws: int) -> None:
        if draws == 0:
            return
        if len(rows) == 0:
            source, rows = next((source, other) for source, other in instead if len(other))
            self.warnings.append(f'The list has no {name}: their {draws} draws an epoch and rank come from {source}.')
        self._cells.append((rows, draws))

    def order(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.Generator(np.random.PCG64([self._seed, epoch, self._rank, _GLD_STREAM]))
        return random.permutation(np.concatenate([random.choice(rows, draws) for rows, draws in self._cells]))


class BatchPositions:
    """The positions (epoch, index in the rank's order) of each batch from one step to another, counted from 0 over the stage."""

    def __init__(self, *, batch: int, steps_per_epoch: int, first_step: int, last_step: int) -> None:
        self._batch = batch
        self._steps_per_epoch = steps_per_epoch
        self._first = first_step
        self._last = last_step

    def __len__(self) -> int:
        return self._last - self._first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self._first, self._last):
            epoch, step_in_epoch = divmod(step, self._steps_per_epoch)
            start = step_in_epoch * self._batch
            yield [(epoch, index) for index in range(start, start + self._batch)]

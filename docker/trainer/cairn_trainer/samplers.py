"""Which rows a rank trains on in an epoch: pure functions of (seed, epoch, rank, world), so that a resumed run draws the same rows.

Rows with label -1 (their landmark is unknown) never reach the loss: `make_sampler` removes them before a sampler
    gets the list. So all samplers use only rows with a label, and compute the size of an epoch from these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cairn_trainer.config import TrainSettings
from cairn_trainer.errors import TrainerError
from cairn_trainer.lists import CONTINENTS, ImageList

_CONTINENT_PERCENT = dict(zip(CONTINENTS, (50, 20, 15, 10, 2, 1, 1, 1), strict=True))
_CLEAN_PERCENT = 66
# Makes the samplers' draws independent of the augmentation's for the same seed and epoch.
_SOFTMAX_STREAM, _GLD_STREAM, _ID_UNIFORM_STREAM, _RUN_STREAM, _BUFFER_STREAM = 1, 2, 3, 4, 5


class Sampler(Protocol):
    """Rows by epoch.

    Attributes:
        steps_per_epoch: Full optimizer steps in an epoch.
        warnings: What is missing in the list, and the substitutes.
        dependence: How the draws depend on the number of ranks, as a clause.
    """

    steps_per_epoch: int
    warnings: list[str]
    dependence: str

    def order(self, epoch: int) -> NDArray[np.int64]:
        """This rank's rows in the epoch (counted from 0), at least `steps_per_epoch x batch`."""
        ...


def make_sampler(settings: TrainSettings, images: ImageList, *, rank: int, world: int) -> Sampler:
    """The sampler `softmax`, `gld` or `id_uniform` over a list.

    Raises:
        TrainerError: `bad_row` if no row has a label, and the errors of `ImageList.continents`.
    """
    rows = np.flatnonzero(images.labels >= 0)
    if len(rows) == 0:
        raise TrainerError('bad_row', 'No row of the list has a label, so there is nothing to train on.')
    batch, seed = settings.batch * settings.batches_per_step, settings.seed
    if settings.sampler == 'id_uniform':
        return IdUniformSampler(rows, images.labels[rows], batch=batch, images_per_id=settings.images_per_id, seed=seed, rank=rank)
    size = settings.shuffle_buffer if images.is_in_tars else None
    if settings.sampler == 'softmax':
        is_filled = settings.partial_step == 'fill'
        buffer = None if size is None else ShuffleBuffer(images.runs, size=size, seed=seed)
        return SoftmaxSampler(rows, batch=batch, is_filled=is_filled, seed=seed, rank=rank, world=world, buffer=buffer)
    continents, is_noisy = images.continents()[rows], images.is_noisy[rows]
    buffer = None if size is None else ShuffleBuffer(images.runs, size=max(1, size // world), seed=seed)
    return GldSampler(rows, continents, is_noisy, batch=batch, seed=seed, rank=rank, world=world, buffer=buffer)


class ShuffleBuffer:
    """Brings rows whose images are in the same run of a tar close to each other, so that a run can be read at once.

    The runs are in a random order, which is the same on every rank: all ranks of a machine use a run at about the same time. Then each row
    moves by less than `size` places, at random, as if it were drawn from a buffer of `size` rows. Runs are the same wherever the tars are.
    """

    def __init__(self, runs: NDArray[np.int64], *, size: int, seed: int) -> None:
        """`runs` has the number of each row's run."""
        self._runs = runs
        self._size = size
        self._seed = seed

    def shuffle(self, rows: NDArray[np.int64], epoch: int, rank: int) -> NDArray[np.int64]:
        """The same rows, as often as they occur, in another order. Rows of a run are in the order of `rows` before they move."""
        order = np.random.Generator(np.random.PCG64([self._seed, epoch, _RUN_STREAM])).permutation(int(self._runs.max()) + 1)
        rows = rows[np.argsort(order[self._runs[rows]], kind='stable')]
        random = np.random.Generator(np.random.PCG64([self._seed, epoch, rank, _BUFFER_STREAM]))
        return rows[np.argsort(np.arange(len(rows)) + random.random(len(rows)) * self._size, kind='stable')]


class SoftmaxSampler:
    """One shuffle of all rows per epoch, dealt out to the ranks in turn.

    No row occurs twice in an epoch, and the rows that do not fill a step are dropped: different ones in each epoch. With `is_filled` they
    form
    one more step, which is filled with the first rows of the shuffle: the reference trains them in a smaller step. A list smaller than one
    step is repeated to fill it.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        batch: int,
        is_filled: bool = False,
        seed: int,
        rank: int,
        world: int,
        buffer: ShuffleBuffer | None = None,
    ) -> None:
        self._rows = rows
        self._buffer = buffer
        self._seed = seed
        self._rank = rank
        self._world = world
        step = batch * world
        self.steps_per_epoch = -(-len(rows) // step) if is_filled else max(1, len(rows) // step)
        self._total = self.steps_per_epoch * batch * world
        self.warnings: list[str] = []
        self.dependence = 'the images of a step do not depend on the ranks'

    def order(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.Generator(np.random.PCG64([self._seed, epoch, _SOFTMAX_STREAM]))
        rows = random.permutation(self._rows)
        if self._buffer is not None:
            # Of the whole epoch, for all ranks: the images of a step do not depend on their number.
            rows = self._buffer.shuffle(rows, epoch, 0)
        return np.resize(rows, self._total)[self._rank :: self._world]


class GldSampler:
    """Continent-aware draws with replacement, separate for each rank.

    A rank draws L = rows / world (rounded down) rows per epoch: for each continent its share of L, of these 66 % clean and the rest noisy,
    each rounded down; then shuffles. If a continent has no clean (noisy) rows its noisy (clean) ones are drawn; if it has none at all, its
    share is drawn from the whole list.
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
        buffer: ShuffleBuffer | None = None,
    ) -> None:
        self._seed = seed
        self._rank = rank
        self._buffer = buffer
        self.warnings: list[str] = []
        length = max(len(rows) // world, batch)
        self.dependence = f'each rank draws {length} rows per epoch, so the rows depend on the number of ranks'
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
            # Rounding down in sixteen cells can leave too few rows for one step in a tiny list.
            self._cells.append((rows, batch - drawn))
        self.steps_per_epoch = max(1, drawn // batch)

    def _add_cell(self, name: str, rows: NDArray[np.int64], instead: list[tuple[str, NDArray[np.int64]]], draws: int) -> None:
        if draws == 0:
            return
        if len(rows) == 0:
            source, rows = next((source, other) for source, other in instead if len(other))
            self.warnings.append(f'The list has no {name}: their {draws} draws per epoch and rank come from {source}.')
        self._cells.append((rows, draws))

    def order(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.Generator(np.random.PCG64([self._seed, epoch, self._rank, _GLD_STREAM]))
        rows = random.permutation(np.concatenate([random.choice(rows, draws) for rows, draws in self._cells]))
        return rows if self._buffer is None else self._buffer.shuffle(rows, epoch, self._rank)


class IdUniformSampler:
    """The same number of images of every landmark, separate for each rank.

    A rank iterates once per epoch over all landmarks in its own order and draws `images_per_id` images of each: without replacement
    if the landmark has enough, otherwise with. A batch has batch / images_per_id landmarks; those that do not fill a step are
    dropped. If there are fewer landmarks than in one step, they are repeated to fill it.
    """

    def __init__(self, rows: NDArray[np.int64], labels: NDArray[np.int64], *, batch: int, images_per_id: int, seed: int, rank: int) -> None:
        by_label = np.argsort(labels, kind='stable')
        self._rows = rows[by_label]
        _, self._starts, self._counts = np.unique(labels[by_label], return_index=True, return_counts=True)
        self._images_per_id = images_per_id
        self._seed = seed
        self._rank = rank
        self.steps_per_epoch = max(1, len(self._starts) * images_per_id // batch)
        self._ids = self.steps_per_epoch * batch // images_per_id
        self.warnings: list[str] = []
        self.dependence = 'each rank iterates over all landmarks in its own order, so the steps per epoch do not depend on the ranks'

    def order(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.Generator(np.random.PCG64([self._seed, epoch, self._rank, _ID_UNIFORM_STREAM]))
        ids = np.resize(random.permutation(len(self._starts)), self._ids)
        starts, counts = self._starts[ids, None], self._counts[ids, None]
        # The rows of each landmark are shuffled, so that the first ones are a draw without replacement.
        group = np.repeat(np.arange(len(self._starts)), self._counts)
        shuffled = self._rows[np.lexsort((random.random(len(group)), group))]
        drawn = random.integers(0, counts, (len(ids), self._images_per_id))
        places = np.where(counts >= self._images_per_id, np.arange(self._images_per_id), drawn)
        return shuffled[(starts + places).ravel()]


class BatchPositions:
    """The positions (epoch, index in the rank's order) of each batch from one step to another, counted from 0 over the stage.

    A step has `batches_per_step` consecutive batches.
    """

    def __init__(self, *, batch: int, batches_per_step: int = 1, steps_per_epoch: int, first_step: int, last_step: int) -> None:
        self.batch = batch
        self._batches_per_step = batches_per_step
        self._steps_per_epoch = steps_per_epoch
        self._first = first_step
        self._last = last_step

    @property
    def first_row(self) -> int:
        """The rows before the first batch, over all epochs."""
        return self._first * self._batches_per_step * self.batch

    def __len__(self) -> int:
        return (self._last - self._first) * self._batches_per_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batches_per_epoch = self._steps_per_epoch * self._batches_per_step
        for number in range(self._first * self._batches_per_step, self._last * self._batches_per_step):
            epoch, in_epoch = divmod(number, batches_per_epoch)
            start = in_epoch * self.batch
            yield [(epoch, index) for index in range(start, start + self.batch)]

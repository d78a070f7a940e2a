"""A list of images: a Parquet file, and the image files of its rows, in a folder tree or in tars."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cairn_trainer.errors import TrainerError
from cairn_trainer.foreign_text import plain_name
from cairn_trainer.image_files import FileState
from cairn_trainer.served_images import Announcements, ServedImages, open_images

CONTINENTS = ('Asia', 'Europe', 'Africa', 'North America', 'South America', 'Antarctica', 'Oceania', 'OTHER')
"""The values of the column `continent`; a row without one counts as OTHER."""

RUN_BYTES = 8 * 2**20
"""A run of a tar: the images that begin in the same 8 MiB of it. An agent reads about as much at once."""

_TAR_COLUMNS = ('tar', 'offset', 'size')
_FILE_COLUMNS = ('file_bytes', 'file_changed_ms')
_SHOWN = 20


class ImageList:
    """The rows of a list, in the file's order.

    Attributes:
        labels: int64 [rows]; -1 for an unknown label.
        is_noisy: bool [rows]; False if the list has no such column.
        image_of_row: int32 [rows], the number of the row's image: an image may be in several rows.
        images: number of distinct images.
        is_in_tars: whether the rows say where in tars their images are.
        is_served: whether the agent reads the images, of a dataset in object storage.
    """

    def __init__(self, path: Path, image_root: Path, *, is_labelled: bool) -> None:
        """Reads the columns, not the images.

        Raises:
            TrainerError: `missing_file`, `missing_column`, `bad_row` if the file is not Parquet or has no rows, `storage_failed` if
            the image folder is missing or empty.
        """
        self._path = path
        self._files = open_images(image_root)
        table = _read_table(path, ['image_id', 'path', *(['label', 'noisy'] if is_labelled else [])])
        self._ids = table['image_id']
        self._paths = table['path']
        self._table = table
        self.rows = table.num_rows
        self.labels: NDArray[np.int64] = self._column('label', missing=-1, dtype=np.int64)
        self.is_noisy: NDArray[np.bool_] = self._column('noisy', missing=False, dtype=np.bool_)
        encoded = table['image_id'].combine_chunks().dictionary_encode()
        self.image_of_row: NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        self.images = len(encoded.dictionary)
        self.is_in_tars = all(name in table.column_names for name in _TAR_COLUMNS)
        self.is_served = isinstance(self._files, ServedImages)
        self._knows_files = all(name in table.column_names for name in _FILE_COLUMNS)

    def _column(self, name: str, *, missing: int | bool, dtype: type) -> NDArray:
        if name not in self._table.column_names:
            return np.full(self.rows, missing, dtype)
        # `noisy` is 0 or 1 in Cairn's lists and may be boolean in others.
        return pc.fill_null(self._table[name], pa.scalar(missing).cast(self._table.schema.field(name).type)).to_numpy().astype(dtype)

    def check(self, rows: int, classes: int) -> None:
        """Checks the list against the expected rows and classes.

        Raises:
            TrainerError: `corrupt_artifact` for another number of rows, `bad_row` for a label above the number of classes.
        """
        if self.rows != rows:
            raise TrainerError('corrupt_artifact', f'{self._path} has {self.rows} rows, not {rows}. Download it again.')
        largest = int(self.labels.max())
        if largest >= classes:
            raise TrainerError('bad_row', f'{self._path} has the label {largest}, but the classifier has {classes} classes.')

    def image_id(self, row: int) -> str:
        return self._ids[row].as_py()

    def image_ids(self) -> list[str]:
        """The id of every row."""
        return self._ids.to_pylist()

    def image_path(self, row: int) -> str:
        """Relative to the image folder; for an image inside a tar, its name there."""
        return self._paths[row].as_py()

    def continents(self) -> NDArray[np.int8]:
        """The continent of every row as an index into CONTINENTS.

        Raises:
            TrainerError: `missing_column`, or `bad_row` for a name that is not one of CONTINENTS.
        """
        if 'continent' not in self._table.column_names:
            raise TrainerError('missing_column', f'{self._path} has no column continent, which the sampler gld needs.')
        names = pc.fill_null(self._table['continent'], 'OTHER')
        numbers = pc.index_in(names, value_set=pa.array(CONTINENTS))
        if numbers.null_count:
            row = int(np.flatnonzero(pc.is_null(numbers).to_numpy())[0])
            message = f'{self._path} row {row}: the continent {names[row].as_py()!r} is unknown; use one of {", ".join(CONTINENTS)}.'
            raise TrainerError('bad_row', message)
        return numbers.to_numpy().astype(np.int8)

    @cached_property
    def runs(self) -> NDArray[np.int64]:
        """int64 [rows], the number of the run of a tar that each row's image is in. A row without a tar is a run of its own."""
        tars = self._table['tar'].combine_chunks().dictionary_encode().indices
        tar_of_row = pc.fill_null(tars, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        offsets = pc.fill_null(self._table['offset'], 0).to_numpy().astype(np.int64)
        places = np.where(tar_of_row < 0, -1 - np.arange(self.rows), (tar_of_row << 24) + offsets // RUN_BYTES)
        return np.unique(places, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def _rows_by_run(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows ordered by run and offset, and where each run begins among them."""
        offsets = pc.fill_null(self._table['offset'], 0).to_numpy()
        rows = np.lexsort((offsets, self.runs))
        return rows, np.searchsorted(self.runs[rows], np.arange(int(self.runs.max()) + 2))

    def by_place(self) -> NDArray[np.int64]:
        """The rows of a list in tars, in the order of their places."""
        return self._rows_by_run[0]

    def describe_run(self, run: int) -> dict[str, Any] | None:
        """A run as the agent takes it, with all its images; None for the row of an image that is in no tar."""
        rows, starts = self._rows_by_run
        mine = self._table.take(rows[starts[run] : starts[run + 1]])
        tar = mine['tar'][0].as_py()
        if tar is None:
            return None
        # An image may be in several rows.
        images = dict(zip(mine['offset'].to_pylist(), zip(mine['size'].to_pylist(), mine['path'].to_pylist(), strict=True), strict=True))
        registered = {}
        if self._knows_files:
            registered = {'fileBytes': mine['file_bytes'][0].as_py(), 'fileChangedMs': mine['file_changed_ms'][0].as_py()}
        return {'tar': tar, **registered, 'images': [[offset, size, path] for offset, (size, path) in images.items()]}

    def announcements(self) -> Announcements | None:
        """Tells the agent what is read next; None where the images are files of this machine, or in no tars."""
        return self._files.announcements() if self.is_in_tars and isinstance(self._files, ServedImages) else None

    def read(self, row: int) -> bytes:
        """The bytes of a row's image file.

        Raises:
            BadImageError: the image is at fault.
            TrainerError: `dataset_changed` if the file is not the one recorded in the list, `storage_failed` if the
            machine is at fault.
        """
        registered = FileState(*(self._table[name][row].as_py() for name in _FILE_COLUMNS)) if self._knows_files else None
        tar = self._table['tar'][row].as_py() if self.is_in_tars else None
        if tar is None:
            return self._files.read(self.image_path(row), registered)
        return self._files.read_piece(tar, self._table['offset'][row].as_py(), self._table['size'][row].as_py(), registered)


def _some(names: list[str]) -> str:
    return ', '.join(map(plain_name, names[:_SHOWN])) + (f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else '')


def _read_table(path: Path, needed: list[str]) -> pa.Table:
    known = [*needed, 'continent', *_TAR_COLUMNS, *_FILE_COLUMNS]
    return read_parquet(path, needed, known)


def read_parquet(path: Path, needed: list[str], known: list[str] | None = None) -> pa.Table:
    """The columns `known` (by default `needed`) that a Parquet file has.

    Raises:
        TrainerError: `missing_file`, `missing_column`, or `bad_row` if it is not a Parquet file, has no rows, or a null in the ids of
            `needed`.
    """
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            missing = [name for name in needed if name not in present]
            if missing:
                raise TrainerError('missing_column', f'{path} lacks {", ".join(missing)}; it has {_some(present)}.')
            # One thread: a rank has one core, and the threads of a pool do not survive a fork of loaders.
            table = file.read([name for name in (known or needed) if name in present], use_threads=False)
    except FileNotFoundError as error:
        raise TrainerError('missing_file', f'The list {path} does not exist.') from error
    except (pa.ArrowInvalid, OSError) as error:
        raise TrainerError('bad_row', f'{path} cannot be read as Parquet: {error}.') from error
    if table.num_rows == 0:
        raise TrainerError('bad_row', f'{path} has no rows.')
    return table.combine_chunks()

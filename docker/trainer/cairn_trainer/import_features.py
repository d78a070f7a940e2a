"""`python -m cairn_trainer.import_features --out DIR FILE`: converts the reference's pickled features to a feature set.

A pickle contains `probe_name_list` and `probe_feats` (or `index_...`: strings [N], floats [N, D]), or for a reference set a dict from name
    to vector. One JSON object on standard output: rows, rejected rows and files; or `{"code", "message"}` if it is rejected, and then no
    file is written. Memory does not grow with the number of vectors.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cairn_trainer.digest import sha256_of
from cairn_trainer.errors import TrainerError, answer_with, from_os_error
from cairn_trainer.feature_set import FeatureSetWriter
from cairn_trainer.foreign_pickle import named
from cairn_trainer.pickled_items import Array, read_items

_ID = re.compile(r'[0-9A-Za-z_-]{3,64}')
_PAIRS = (('probe_name_list', 'probe_feats'), ('index_name_list', 'index_feats'))
_BLOCK_VALUES = 2**22
"""Numbers that are processed at a time: 32 MiB as fp64."""
_MOST_DIM = 2**16


class _Import:
    """Receives the items of a pickle: two arrays, or one vector per name."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.writer: FeatureSetWriter | None = None
        self._path = path
        self._folder = folder
        self._arrays: dict[str, Array] = {}
        self._is_of_vectors_alone = True
        self._names: list[str] = []
        self._block: list[NDArray[Any]] = []
        self._row = 0

    def take(self, key: str, array: Array | None) -> None:
        """One item of the file.

        Raises:
            TrainerError: `unreadable_file` for vectors of different lengths; `bad_row` for an invalid id.
        """
        if array is not None and any(key in pair for pair in _PAIRS):
            self._arrays[key] = array
        if array is None or key in self._arrays or array.ndim != 1 or array.dtype.kind != 'f' or len(array) == 0:
            self._is_of_vectors_alone = False
            return
        dim = self._writer_of(len(array)).dim
        if len(array) != dim:
            raise TrainerError('unreadable_file', f'{self._path} has vectors of {dim} and of {len(array)} numbers ({named(key)}).')
        self._names.append(key)
        self._block.append(array[:])
        if len(self._block) * dim >= _BLOCK_VALUES:
            self._write_block()

    def finish(self) -> FeatureSetWriter:
        """Writes the rest; returns the finished writer.

        Raises:
            TrainerError: `unreadable_file` for another structure; `bad_row` for an invalid or duplicate id.
        """
        pair = next(((names, vectors) for names, vectors in _PAIRS if names in self._arrays and vectors in self._arrays), None)
        if pair is not None and self.writer is None:
            self._take_pair(*(self._arrays[key] for key in pair))
        elif pair is not None or self.writer is None or not self._is_of_vectors_alone:
            raise TrainerError('unreadable_file', f'{self._path} has neither NAME_name_list and NAME_feats nor one vector per name.')
        self._write_block()
        assert self.writer is not None
        self.writer.finish()
        repeated = self.writer.repetition()
        if repeated is not None:
            raise TrainerError('bad_row', f'{self._path}: rows {repeated[0]} and {repeated[1]} have the same image.')
        return self.writer

    def _take_pair(self, names: Array, vectors: Array) -> None:
        fits = names.ndim == 1 and names.dtype.kind == 'U' and vectors.ndim == 2 and vectors.dtype.kind == 'f'
        if not fits or len(vectors) != len(names):
            shapes = ' and '.join('x'.join(map(str, array.shape)) + f' ({array.dtype})' for array in (names, vectors))
            raise TrainerError('unreadable_file', f'{self._path} has names and features of the shapes {shapes}.')
        self._writer_of(vectors.shape[1])
        rows = max(1, _BLOCK_VALUES // max(1, vectors.shape[1], names.dtype.itemsize // 4))
        for start in range(0, len(names), rows):
            self._write(names[start : start + rows].tolist(), vectors[start : start + rows])

    def _writer_of(self, dim: int) -> FeatureSetWriter:
        if dim > _MOST_DIM:
            raise TrainerError('unreadable_file', f'{self._path} has vectors of {dim} numbers, more than {_MOST_DIM}.')
        self.writer = self.writer or FeatureSetWriter(self._folder, dim)
        return self.writer

    def _write_block(self) -> None:
        if self._block:
            self._write(self._names, np.stack(self._block))
        self._names, self._block = [], []

    def _write(self, names: list[str], vectors: NDArray[Any]) -> None:
        for number, name in enumerate(names, self._row):
            if not _ID.fullmatch(name):
                raise TrainerError('bad_row', f'{self._path}, row {number}: {named(name)} is not an image id.')
        self._row += len(names)
        assert self.writer is not None
        try:
            self.writer.add(names, vectors)
        except OSError as error:  # not an error of the file that is being read
            raise from_os_error(error, f'writing {self._folder}') from error


def import_features(path: Path, out: Path) -> dict[str, Any]:
    """Writes a feature set to `out`: fp16 vectors of length 1; a vector that is zero or not finite is recorded as rejected.

    Raises:
        TrainerError: `unreadable_file` for another structure; `bad_row` for an invalid or duplicate id; `unsafe_file`, `missing_file`;
            `name_taken` if the folder is not empty; `storage_full`.
    """
    part = out.with_name(f'.{out.name}.{os.getpid()}.part')
    try:
        if out.exists() and any(out.iterdir()):
            raise TrainerError('name_taken', f'{out} is not empty; name a folder that is empty or does not exist.')
        part.mkdir(parents=True, exist_ok=False)
        try:
            written = _write_all(path, part)
            if out.exists():
                out.rmdir()
            part.rename(out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise from_os_error(error, f'writing {out}') from error
    source = {'path': str(path), 'sha256': sha256_of(path)}
    return {'rows': written.rows, 'rejected': written.rejected, 'dim': written.dim, 'files': written.files, 'from': source}


def _write_all(path: Path, folder: Path) -> FeatureSetWriter:
    taken = _Import(path, folder)
    try:
        read_items(path, taken.take)
        return taken.finish()
    finally:
        if taken.writer is not None:
            taken.writer.close()


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and imports; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m cairn_trainer.import_features', description="Imports the reference's pickled features."
    )
    parser.add_argument('file', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args(arguments)
    return answer_with(lambda: import_features(options.file, options.out))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

"""A feature set in the format of extraction: fp16 vectors of length one with their ids, and the rejected images; in parts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cairn_trainer.digest import sha256_of

_PART_ROWS = 250_000
_HEADER_BYTES = 128
"""Size of an `.npy` header: numpy requires a multiple of 64, and any shape fits into 128."""
_DIGEST_BYTES = 16


class FeatureSetWriter:
    """Writes vectors as they arrive; keeps only the ids of one part, and 16 bytes per row to find duplicate ids."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.dim = dim
        self.rows = 0
        self.rejected = 0
        self.files: list[dict[str, Any]] = []
        self._folder = folder
        self._digests = bytearray()
        self._vectors: BinaryIO | None = None
        self._good: list[str] = []
        self._bad: list[str] = []

    def add(self, names: list[str], vectors: NDArray[Any]) -> None:
        """Adds vectors [N, dim] of images; zero or non-finite vectors are recorded as rejected.

        Raises:
            OSError: writing failed.
        """
        for name in names:
            self._digests += hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).digest()
        while names:
            room = _PART_ROWS - len(self._good) - len(self._bad)
            self._add_to_part(names[:room], vectors[:room])
            names, vectors = names[room:], vectors[room:]

    def finish(self) -> None:
        """Writes the rest of the last part."""
        if self._vectors is not None:
            self._end_part()

    def close(self) -> None:
        """Discards the unfinished part."""
        if self._vectors is not None:
            self._vectors.close()

    def repetition(self) -> tuple[int, int] | None:
        """The row numbers of the first duplicate image; None if there is none."""
        digests = np.frombuffer(self._digests, dtype=[('high', '<u8'), ('low', '<u8')])
        order = np.lexsort((digests['low'], digests['high']))  # stable: keeps the order of equal ones
        is_repeated = digests[order[1:]] == digests[order[:-1]]
        if not is_repeated.any():
            return None
        seconds = order[1:][is_repeated]
        place = int(np.argmin(seconds))
        return int(order[:-1][is_repeated][place]), int(seconds[place])

    def _add_to_part(self, names: list[str], vectors: NDArray[Any]) -> None:
        wide = vectors.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1)
        is_good = np.isfinite(lengths) & (lengths > 0)
        unit = (wide[is_good] / lengths[is_good, None]).astype('<f2')
        if self._vectors is None:
            path = self._path('img_emb', 'npy')
            self._vectors = path.open('wb')
            self._vectors.write(bytes(_HEADER_BYTES))
        self._vectors.write(unit.tobytes())
        self._good += [name for name, keep in zip(names, is_good, strict=True) if keep]
        self._bad += [name for name, keep in zip(names, is_good, strict=True) if not keep]
        if len(self._good) + len(self._bad) == _PART_ROWS:
            self._end_part()

    def _end_part(self) -> None:
        assert self._vectors is not None
        self._vectors.seek(0)
        self._vectors.write(_npy_header(len(self._good), self.dim))
        self._vectors.close()
        self._vectors = None
        paths = [self._path('img_emb', 'npy'), self._path('metadata', 'parquet'), self._path('rejected', 'parquet')]
        text = pa.string()
        pq.write_table(pa.table({'image_id': pa.array(self._good, text)}), paths[1], compression='zstd')
        reasons = ['the vector is zero or not finite'] * len(self._bad)
        columns = {'image_id': self._bad, 'path': [''] * len(self._bad), 'reason': reasons}
        table = pa.table({name: pa.array(values, text) for name, values in columns.items()})
        pq.write_table(table, paths[2], compression='zstd')
        for path in paths:
            name = path.relative_to(self._folder).as_posix()
            self.files.append({'name': name, 'bytes': path.stat().st_size, 'sha256': sha256_of(path)})
        self.rows += len(self._good)
        self.rejected += len(self._bad)
        self._good, self._bad = [], []

    def _path(self, kind: str, end: str) -> Path:
        folder = self._folder / kind
        folder.mkdir(exist_ok=True)
        return folder / f'{kind}_{len(self.files) // 3:05d}.{end}'


def _npy_header(rows: int, dim: int) -> bytes:
    """The first bytes of an `.npy` file (version 1.0) of fp16 [rows, dim]."""
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    magic = b'\x93NUMPY\x01\x00'
    length = _HEADER_BYTES - len(magic) - 2
    return magic + length.to_bytes(2, 'little') + text.ljust(length - 1).encode('ascii') + b'\n'

"""`python -m cairn_trainer.export_lance`: writes a matrix of vectors and their ids as a Lance dataset.

Needs pylance, which is not among the trainer's packages. Prints one JSON object: `{"rows", "dim", "version"}`, or `{"code", "message"}`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cairn_trainer.errors import TrainerError, answer_with, from_os_error

PYLANCE = 'pylance==14.0.2'
"""The version that is tested."""
_BATCH_ROWS = 16_384
_ID = 'image_id'


def export_lance(vectors: Path, ids: Path, out: Path) -> dict[str, Any]:
    """Writes the columns image_id (string) and vector (a fixed-size list, in the matrix' type) in the order of the rows.

    Args:
        vectors: An .npy file [N, D] of float16 or float32.
        ids: A Parquet file with N rows and the column image_id.
        out: The folder of the dataset, which does not exist.

    Raises:
        TrainerError: `invalid_configuration` without pylance; `corrupt_artifact` if the files do not have the same number of rows;
            `storage_full`.
    """
    try:
        import lance
    except ImportError as error:
        command = f'{sys.executable} -m pip install {PYLANCE}'
        raise TrainerError('invalid_configuration', f'A Lance dataset is written by the package pylance. Install it: {command}') from error
    values = np.load(vectors, mmap_mode='r')
    table = pq.ParquetFile(ids)
    if table.metadata.num_rows != len(values):
        raise TrainerError('corrupt_artifact', f'{vectors} has {len(values)} rows, {ids} {table.metadata.num_rows}.')
    dim = values.shape[1]
    schema = pa.schema([(_ID, pa.string()), ('vector', pa.list_(pa.from_numpy_dtype(values.dtype), dim))])

    def batches() -> Iterator[pa.RecordBatch]:
        row = 0
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=[_ID]):
            flat = pa.array(np.asarray(values[row : row + len(batch)]).reshape(-1))
            row += len(batch)
            yield pa.record_batch([batch.column(0).cast(pa.string()), pa.FixedSizeListArray.from_arrays(flat, dim)], schema=schema)

    try:
        written = lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(out), mode='create')
    except OSError as error:
        raise from_os_error(error, f'writing {out}') from error
    return {'rows': written.count_rows(), 'dim': dim, 'version': lance.__version__}


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and exports; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m cairn_trainer.export_lance', description='Writes vectors as a Lance dataset.')
    for name in ('vectors', 'ids', 'out'):
        parser.add_argument(f'--{name}', type=Path, required=True)
    options = parser.parse_args(arguments)
    return answer_with(lambda: export_lance(options.vectors, options.ids, options.out))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

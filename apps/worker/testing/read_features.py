"""`read_features.py FOLDER EXPORTED`: reads a feature set, and what was exported of it, with the libraries of others.

Prints one JSON object: for each reader the rows that it found, and whether all have the ids and values of NumPy and pyarrow by position.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
import faiss
import lance
import numpy as np
import pyarrow.parquet as pq
from autofaiss import build_index
from embedding_reader import EmbeddingReader
from numpy.typing import NDArray
from usearch.index import Index

folder, exported = Path(sys.argv[1]), Path(sys.argv[2])
found: dict[str, object] = {}

# The two files of a part are joined by position.
ids: list[str] = []
parts: list[NDArray[np.float16]] = []
for path in sorted((folder / 'img_emb').iterdir()):
    parts.append(np.load(path))
    ids += pq.read_table(folder / 'metadata' / path.name.replace('img_emb', 'metadata').replace('.npy', '.parquet'))['image_id'].to_pylist()
vectors = np.concatenate(parts)
row_of = {name: row for row, name in enumerate(ids)}
found['numpy'] = {'rows': len(vectors), 'parts': len(parts), 'type': str(vectors.dtype), 'dim': vectors.shape[1]}


def same(names: list[str], values: NDArray[np.generic]) -> dict[str, object]:
    """How many there are, and whether each is once what NumPy reads for its id."""
    expected = vectors[[row_of[name] for name in names]].astype(np.float32)
    return {'rows': len(values), 'same': sorted(names) == sorted(ids) and bool(np.array_equal(values.astype(np.float32), expected))}


def embedding_reader() -> dict[str, object]:
    """Batches that go over the ends of parts."""
    reader = EmbeddingReader(
        str(folder / 'img_emb'), metadata_folder=str(folder / 'metadata'), meta_columns=['image_id'], file_format='parquet_npy'
    )
    assert reader.dimension == vectors.shape[1]
    batches = [(batch, list(meta['image_id'])) for batch, meta in reader(batch_size=50, start=0, end=reader.count, show_progress=False)]
    return same([name for _, names in batches for name in names], np.concatenate([batch for batch, _ in batches]))


def autofaiss() -> dict[str, object]:
    """An index of the folder: a row is a place in the sorted parts, and each image is its own nearest."""
    index, _ = build_index(
        str(folder / 'img_emb'),
        # Saving fails with NumPy 2: the figures that it saves beside the index are no JSON.
        save_on_disk=False,
        index_key='Flat',
        metric_type='ip',
        max_index_memory_usage='100M',
        current_memory_available='1G',
        nb_cores=1,
    )
    nearest = index.search(vectors.astype(np.float32), 1)[1][:, 0]
    return {'rows': index.ntotal, 'same': bool((nearest == np.arange(len(ids))).all())}


def by_duckdb() -> dict[str, object]:
    """Ids and rejected images by a pattern of file names."""
    names = [name for (name,) in duckdb.sql(f"select image_id from read_parquet('{folder}/metadata/*.parquet')").fetchall()]
    rejected = duckdb.sql(f"select image_id, reason from read_parquet('{folder}/rejected/*.parquet') order by image_id").fetchall()
    return {'rows': len(names), 'same': sorted(names) == sorted(ids), 'rejected': [name for name, _ in rejected]}


def exported_to(library: str) -> dict[str, object]:
    """What `cairn features export` wrote, with the ids by row."""
    names = pq.read_table(exported / 'ids.parquet')['image_id'].to_pylist()
    path = str(exported / f'index.{library}')
    if library == 'npy':
        return same(names, np.load(path, mmap_mode='r'))
    if library == 'faiss':
        index = faiss.read_index(path)
        return same(names, index.reconstruct_n(0, index.ntotal))
    if library == 'usearch':
        return same(names, np.asarray(Index.restore(path).get(np.arange(len(names)))))
    table = lance.dataset(path).to_table()
    values = np.stack(table['vector'].to_numpy())
    nearest = lance.dataset(path).to_table(nearest={'column': 'vector', 'q': values[7], 'k': 1, 'metric': 'dot'})
    return {**same(table['image_id'].to_pylist(), values), 'nearest': nearest['image_id'].to_pylist() == [table['image_id'][7].as_py()]}


found['embedding-reader'] = embedding_reader()
found['autofaiss'] = autofaiss()
found['duckdb'] = by_duckdb()
for name in ('npy', 'faiss', 'usearch', 'lance'):
    found[name] = exported_to(name)
print(json.dumps(found))

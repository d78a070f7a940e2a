"""The rivals of `npm run bench -- search`: straightforward programs in NumPy, torch and faiss, each with the whole gallery in memory.

    python plain_search.py make-search FOLDER --queries Q --rows N --dim D      draws feature sets
    python plain_search.py make-rerank FOLDER --models M --queries Q --rows N --references R --dim D
    python plain_search.py numpy|torch|faiss FOLDER --top K     the exact nearest rows of each query
    python plain_search.py rerank FOLDER --models M --top K     before_merge of several models, from the definitions

Those that search write the rows they found and print what that took as JSON, without reading.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Matrix = np.ndarray
_PART_ROWS = 50_000
_BLOCK_ROWS = 50_000


def _unit(values: Matrix) -> Matrix:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _write_set(folder: Path, prefix: str, values: Matrix) -> None:
    for kind in ('img_emb', 'metadata'):
        (folder / kind).mkdir(parents=True)
    for part, first in enumerate(range(0, len(values), _PART_ROWS)):
        rows = values[first : first + _PART_ROWS].astype(np.float16)
        np.save(folder / 'img_emb' / f'img_emb_{part:05}.npy', rows)
        ids = [f'{prefix}{row:09}' for row in range(first, first + len(rows))]
        pq.write_table(pa.table({'image_id': ids}), folder / 'metadata' / f'metadata_{part:05}.parquet')


def _read_set(folder: Path) -> Matrix:
    return np.concatenate([np.load(part) for part in sorted((folder / 'img_emb').glob('*.npy'))]).astype(np.float32)


def make_search(folder: Path, options: argparse.Namespace) -> None:
    random = np.random.default_rng(0)
    draw = lambda rows: _unit(random.standard_normal((rows, options.dim), np.float32))  # noqa: E731
    _write_set(folder / 'query', 'q', draw(options.queries))
    _write_set(folder / 'index', 'i', draw(options.rows))


def make_rerank(folder: Path, options: argparse.Namespace) -> None:
    """Images of 2,000 landmarks in 50 countries: what shows the same is alike, for every model in its own way."""
    random = np.random.default_rng(0)
    landmarks = 2_000
    shown = {name: random.integers(0, landmarks, count) for name, count in _counts(options).items()}
    for model in range(options.models):
        centres = _unit(random.standard_normal((landmarks, options.dim), np.float32))
        for name, labels in shown.items():
            noise = random.standard_normal((len(labels), options.dim), np.float32) / np.sqrt(options.dim)
            _write_set(folder / f'M{model}' / name, name[0], _unit(centres[labels] + noise))
    labels = shown['references']
    ids = [f'r{row:09}' for row in range(len(labels))]
    pq.write_table(
        pa.table({'image_id': ids, 'label': labels, 'country': [f'C{label % 50}' for label in labels]}), folder / 'labels.parquet'
    )


def _counts(options: argparse.Namespace) -> dict[str, int]:
    return {'query': options.queries, 'index': options.rows, 'references': options.references}


def with_numpy(queries: Matrix, gallery: Matrix, top: int) -> Matrix:
    """Block by block: all scores at once would take 3.4 GB."""
    scores, rows = [], []
    for first in range(0, len(gallery), _BLOCK_ROWS):
        block = queries @ gallery[first : first + _BLOCK_ROWS].T
        best = np.argpartition(-block, min(top, block.shape[1]) - 1, axis=1)[:, :top]
        scores.append(np.take_along_axis(block, best, axis=1))
        rows.append(best + first)
    every_score, every_row = np.concatenate(scores, axis=1), np.concatenate(rows, axis=1)
    order = np.argsort(-every_score, axis=1, kind='stable')[:, :top]
    return np.take_along_axis(every_row, order, axis=1)


def with_torch(queries: Matrix, gallery: Matrix, top: int) -> Matrix:
    import torch

    scores, rows = [], []
    with torch.inference_mode():
        wanted = torch.from_numpy(queries)
        for first in range(0, len(gallery), _BLOCK_ROWS):
            block = wanted @ torch.from_numpy(gallery[first : first + _BLOCK_ROWS]).T
            best = torch.topk(block, min(top, block.shape[1]), dim=1)
            scores.append(best.values)
            rows.append(best.indices + first)
        best = torch.topk(torch.cat(scores, dim=1), top, dim=1)
        return torch.gather(torch.cat(rows, dim=1), 1, best.indices).numpy()


def with_faiss(index: object, queries: Matrix, top: int) -> Matrix:
    return index.search(queries, top)[1]  # type: ignore[attr-defined]


def rerank(folder: Path, options: argparse.Namespace) -> Matrix:
    """The weighted sum of similarities, each raised by the votes of the references, with all references of a model in memory."""
    table = pq.read_table(folder / 'labels.parquet')
    labels = table['label'].to_numpy()
    _, countries = np.unique(table['country'].to_numpy(zero_copy_only=False), return_inverse=True)
    total = None
    seed_counts = {}
    for model in range(options.models):
        sets = {name: _read_set(folder / f'M{model}' / name) for name in ('query', 'index', 'references')}
        queries, index, references = sets['query'], sets['index'], sets['references']
        similarities = queries @ index.T
        tags = np.concatenate([np.argmax(index[first : first + 2000] @ references.T, axis=1) for first in range(0, len(index), 2000)])
        tag_labels, tag_countries = labels[tags], countries[tags]
        nearest = np.argsort(-(queries @ references.T), axis=1, kind='stable')[:, :30]
        seeds = np.unique(nearest)
        seed_counts[f'M{model}'] = len(seeds)
        theirs = np.concatenate(
            [
                np.argpartition(-(references[some] @ references.T), 29, axis=1)[:, :30]
                for some in np.array_split(seeds, len(seeds) // 1000 + 1)
            ]
        )
        for query, own in enumerate(nearest):
            members = np.unique(np.concatenate([own, theirs[np.searchsorted(seeds, own)].ravel()]))
            votes = _kr_votes(queries[query], references[members])
            for kinds, tagged, factor in ((labels, tag_labels, 1.0), (countries, tag_countries, 0.1)):
                shares: dict[int, float] = {}
                for member, similarity in votes:
                    kind = int(kinds[members[member]])
                    shares[kind] = shares.get(kind, 0.0) + similarity
                whole = sum(shares.values())
                for kind, share in shares.items():
                    similarities[query, tagged == kind] += factor * share / whole
        total = similarities if total is None else total + similarities
    (folder / 'seeds.json').write_text(json.dumps(seed_counts))
    return np.argsort(-total, axis=1, kind='stable')[:, : options.top]


def _kr_votes(query: Matrix, members: Matrix, k1: int = 10, k2: int = 3, weight: float = 0.5) -> list[tuple[int, float]]:
    """The three best references by the reference's kr_rerank_fast, and their similarity."""
    items = np.concatenate([query[None], members])
    distance = 1 - (items @ items.T + 1) / 2
    ranks = np.argsort(distance, axis=1, kind='stable')
    size = len(items)

    def reciprocal(item: int, k: int) -> Matrix:
        forward = ranks[item, : k + 1]
        return forward[np.any(ranks[forward, : k + 1] == item, axis=1)]

    v = np.zeros((size, size))
    for item in range(size):
        own = reciprocal(item, k1)
        expanded = [own]
        for candidate in own:
            other = reciprocal(candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(other, own)) > 2 / 3 * len(other):
                expanded.append(other)
        columns = np.unique(np.concatenate(expanded))
        weights = np.exp(-distance[item, columns])
        v[item, columns] = weights / weights.sum()
    mean = np.stack([v[ranks[item, :k2]].mean(axis=0) for item in range(size)])
    overlap = np.minimum(mean[0], mean[1:]).sum(axis=1)
    jaccard = 1 - overlap / (2 - overlap)
    similarity = 1 - (weight * distance[0, 1:] + (1 - weight) * jaccard)
    best = np.argsort(-similarity, kind='stable')[:3]
    return [(int(member), float(similarity[member])) for member in best]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('part')
    parser.add_argument('folder', type=Path)
    for name, default in {'queries': 0, 'rows': 0, 'references': 0, 'models': 1, 'dim': 512, 'top': 100, 'threads': 1}.items():
        parser.add_argument(f'--{name}', type=int, default=default)
    options = parser.parse_args()
    folder = options.folder
    if options.part.startswith('make-'):
        {'make-search': make_search, 'make-rerank': make_rerank}[options.part](folder, options)
        return
    if options.part == 'rerank':
        work = lambda: rerank(folder, options)  # noqa: E731
    else:
        queries, gallery = _read_set(folder / 'query'), _read_set(folder / 'index')
        if options.part == 'faiss':
            import faiss

            faiss.omp_set_num_threads(options.threads)
            index = faiss.IndexFlatIP(gallery.shape[1])
            index.add(gallery)
            del gallery
            work = lambda: with_faiss(index, queries, options.top)  # noqa: E731
        elif options.part == 'torch':
            import torch

            torch.set_num_threads(options.threads)
            work = lambda: with_torch(queries, gallery, options.top)  # noqa: E731
        else:
            work = lambda: with_numpy(queries, gallery, options.top)  # noqa: E731
    began, cpu = time.perf_counter(), time.process_time()
    rows = work()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    rows.astype(np.int32).tofile(folder / f'{options.part}.i32')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({'seconds': seconds, 'cpuSeconds': cpu_seconds, 'peakMiB': peak}))


if __name__ == '__main__':
    main()

"""The evaluation of revisited Oxford and Paris, written from its definition alone: dense similarities, full sorts, lists without junk.

`make FOLDER` writes a ground truth, and features in the form of the reference's pickles; `score FOLDER` reads the imported feature sets
    and prints what is expected. Images lie near their query or anywhere; some vectors are equal, and one query has nothing hard.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

QUERIES, IMAGES, DISTRACTORS, DIM = 6, 120, 25, 16
SETUPS = {'easy': (['easy'], ['junk', 'hard']), 'medium': (['easy', 'hard'], ['junk']), 'hard': (['hard'], ['junk', 'easy'])}


def make(folder: Path) -> None:
    random = np.random.default_rng(7)
    # Small whole numbers, so that many similarities are equal.
    centres = random.integers(-2, 3, (QUERIES, DIM)).astype(np.float32)
    images = random.integers(-2, 3, (IMAGES, DIM)).astype(np.float32)
    gnd = []
    for query in range(QUERIES):
        mine = np.arange(query * 20, query * 20 + 18)
        kinds = {'easy': mine[:5], 'hard': mine[5:9] if query != 2 else mine[:0], 'junk': mine[9:14]}
        for kind, spread in (('easy', 2), ('hard', 5), ('junk', 3)):
            images[kinds[kind]] = centres[query] + random.integers(-spread, spread + 1, (len(kinds[kind]), DIM))
        # As lists, arrays and numbers of NumPy.
        gnd.append({'bbx': [0.0, 1.0, 20.0, 30.0], 'easy': kinds['easy'].tolist(), 'hard': kinds['hard'], 'junk': list(kinds['junk'])})
    images[60:64] = images[40]
    names = [f'ox_{at * 37 % IMAGES:03d}' for at in range(IMAGES)]
    asked = [f'query_{at}' for at in range(QUERIES)]
    further = random.integers(-2, 3, (DISTRACTORS, DIM)).astype(np.float32)
    # The first query is in the index too, as where a folder is extracted whole.
    index = np.concatenate([further, images, centres[:1]])
    index_names = [*(f'other_{at}' for at in range(DISTRACTORS)), *names, asked[0]]
    contents = {
        'gnd_made.pkl': {'gnd': gnd, 'imlist': names, 'qimlist': asked},
        'index.pkl': {'index_name_list': np.array(index_names), 'index_feats': index},
        'probe.pkl': {'probe_name_list': np.array(asked), 'probe_feats': centres},
    }
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))


def features(folder: Path) -> dict[str, np.ndarray]:
    ids = pq.read_table(folder / 'metadata')['image_id'].to_pylist()
    return dict(zip(ids, np.load(next((folder / 'img_emb').iterdir())).astype(np.float64), strict=True))


def score(folder: Path) -> None:
    truth = pickle.loads((folder / 'gnd_made.pkl').read_bytes())
    queries, index = features(folder / 'probe'), features(folder / 'index')
    gallery = [name for name in index if name not in truth['qimlist']]
    expected: dict[str, dict] = {}
    for setup, (correct_kinds, ignored_kinds) in SETUPS.items():
        scores = []
        for name, gnd in zip(truth['qimlist'], truth['gnd'], strict=True):
            correct = {truth['imlist'][at] for kind in correct_kinds for at in gnd[kind]}
            ignored = {truth['imlist'][at] for kind in ignored_kinds for at in gnd[kind]}
            if not correct:
                continue
            ranked = sorted(gallery, key=lambda image: (-float(queries[name] @ index[image]), image))
            kept = [image for image in ranked if image not in ignored]
            hits = np.array([image in correct for image in kept])
            precision = np.concatenate([[1.0], np.cumsum(hits) / np.arange(1, len(kept) + 1)])
            recall = np.concatenate([[0.0], np.cumsum(hits) / len(correct)])
            area = float(np.sum((precision[1:] + precision[:-1]) / 2 * np.diff(recall)))
            last = int(np.flatnonzero(hits)[-1]) + 1
            scores.append([area, *(float(hits[: min(k, last)].mean()) for k in (1, 5, 10))])
        means = np.mean(scores, axis=0).tolist()
        expected[setup] = {
            'queries': len(scores),
            'meanAveragePrecision': means[0],
            'precision': dict(zip(('1', '5', '10'), means[1:], strict=True)),
        }
    print(json.dumps(expected))


if __name__ == '__main__':
    {'make': make, 'score': score}[sys.argv[1]](Path(sys.argv[2]))

"""`python -m cairn_trainer.import_features --out DIR FILE`: the reference's pickled features as a feature set of ours.

A pickle holds `probe_name_list` and `probe_feats` (or `index_...`: texts [N], floats [N, D]), or of a reference set a dict of name to
vector. One JSON object on standard output: rows, rejected rows and files; or `{"code", "message"}` of why it is refused; then no file
is written.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cairn_trainer.answer import answer_with
from cairn_trainer.digest import sha256_of
from cairn_trainer.errors import TrainerError, of_os_error
from cairn_trainer.foreign_pickle import array_in, named, read_pickle

_ID = re.compile(r'[0-9A-Za-z_-]{3,64}')
_PART_ROWS = 250_000


def read_features(path: Path) -> tuple[list[str], np.ndarray]:
    """The image ids and the vectors [N, D] of a pickle.

    Raises:
        TrainerError: `unreadable_file` for another form; `bad_row` for an id that is none or is there twice; those of `read_pickle`.
    """
    content = read_pickle(path, has_arrays=True)
    if not isinstance(content, dict) or not content:
        raise TrainerError('unreadable_file', f'{path} holds a {type(content).__name__}, not features.')
    for kind in ('probe', 'index'):
        names, vectors = (array_in(content.get(f'{kind}_{part}')) for part in ('name_list', 'feats'))
        if names is not None and vectors is not None:
            return _checked(path, [str(name) for name in names], vectors)
    found = [array_in(value) for value in content.values()]
    shapes = {None if vector is None else vector.shape for vector in found}
    if len(shapes) != 1 or None in shapes or not all(isinstance(name, str) for name in content):
        raise TrainerError('unreadable_file', f'{path} has neither NAME_name_list and NAME_feats nor one vector a name.')
    return _checked(path, list(content), np.stack([vector for vector in found if vector is not None]))


def _checked(path: Path, names: list[str], vectors: np.ndarray) -> tuple[list[str], np.ndarray]:
    if vectors.dtype.kind != 'f' or vectors.ndim != 2 or len(vectors) != len(names):
        shape = 'x'.join(map(str, vectors.shape))
        raise TrainerError('unreadable_file', f'{path} has {len(names)} names and features of the shape {shape} ({vectors.dtype}).')
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not _ID.fullmatch(name):
            raise TrainerError('bad_row', f'{path}, row {number}: {named(name)} is no image id.')
        if name in seen:
            raise TrainerError('bad_row', f'{path}, row {number}: the image {name} is there twice.')
        seen.add(name)
    return names, vectors


def import_features(path: Path, out: Path) -> dict[str, Any]:
    """Writes a feature set below `out`: vectors of length 1 in fp16; a vector that is zero or not finite is recorded as rejected.

    Raises:
        TrainerError: as `read_features`; `name_taken` when the folder holds something; `storage_full`.
    """
    names, vectors = read_features(path)
    part = out.with_name(f'.{out.name}.part')
    try:
        if out.exists() and any(out.iterdir()):
            raise TrainerError('name_taken', f'{out} holds something already; give a folder that is empty or not there.')
        part.mkdir(parents=True, exist_ok=False)
        files = []
        rejected = 0
        for number, start in enumerate(range(0, len(names), _PART_ROWS)):
            written, left_out = _write_part(part, number, names[start : start + _PART_ROWS], vectors[start : start + _PART_ROWS])
            rejected += left_out
            files += [{'name': name, 'bytes': (part / name).stat().st_size, 'sha256': sha256_of(part / name)} for name in written]
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise of_os_error(error, f'writing {out}') from error
    finally:
        _remove(part)
    source = {'path': str(path), 'sha256': sha256_of(path)}
    return {'rows': len(names) - rejected, 'rejected': rejected, 'dim': int(vectors.shape[1]), 'files': files, 'from': source}


def _write_part(folder: Path, number: int, names: list[str], vectors: np.ndarray) -> tuple[list[str], int]:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    is_good = np.isfinite(lengths) & (lengths > 0)
    unit = (wide[is_good] / lengths[is_good, None]).astype('<f2')
    good = [name for name, keep in zip(names, is_good, strict=True) if keep]
    bad = [name for name, keep in zip(names, is_good, strict=True) if not keep]
    paths = [f'{kind}/{kind}_{number:05d}.{end}' for kind, end in (('img_emb', 'npy'), ('metadata', 'parquet'), ('rejected', 'parquet'))]
    for path in paths:
        (folder / path).parent.mkdir(exist_ok=True)
    np.save(folder / paths[0], unit)
    text = pa.string()
    pq.write_table(pa.table({'image_id': pa.array(good, text)}), folder / paths[1], compression='zstd')
    reasons = ['the vector is zero or not finite'] * len(bad)
    columns = {'image_id': pa.array(bad, text), 'path': pa.array([''] * len(bad), text), 'reason': pa.array(reasons, text)}
    pq.write_table(pa.table(columns), folder / paths[2], compression='zstd')
    return paths, len(bad)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob('*'), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if folder.exists():
        folder.rmdir()


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and imports; the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m cairn_trainer.import_features', description="Imports the reference's pickled features."
    )
    parser.add_argument('file', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args(arguments)
    return answer_with(lambda: import_features(options.file, options.out))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

"""`python -m cairn_trainer.import_lists --out DIR FILE...`: converts the reference's pickled lists to Parquet with Cairn's columns.

A pickle contains tuples (path of the image, label, 0 or 1 for noisy, continent or -1), in the list's order. One JSON object on
    standard output: the lists by name, or `{"code", "message"}` if one is rejected, and then none is written.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cairn_trainer.digest import sha256_of
from cairn_trainer.errors import TrainerError, answer_with, from_os_error
from cairn_trainer.foreign_pickle import named, read_pickle

LIST_OF_FILE = {
    'cache_clean_list.pkl': 'clean',
    'cache_c2f_list.pkl': 'c2x',
    'cache_full_list.pkl': 'full',
    'cache_index_train_list.pkl': 'index_train',
    'cache_test_list.pkl': 'test',
    'cache_all_list.pkl': 'all',
}
"""The file names of the reference's lists."""

_LETTER = '[0-9A-Za-z_-]'
_PATH = re.compile(
    rf'(?:.*/)?((?:train|index|test)/({_LETTER})/({_LETTER})/({_LETTER})/(\2\3\4{_LETTER}{{0,61}})\.jpg)',
    re.DOTALL,
)
_CONTINENT = re.compile(r'[A-Za-z ]{1,40}')
_SCHEMA = pa.schema(
    [
        ('image_id', pa.string()),
        ('path', pa.string()),
        ('label', pa.int32()),
        ('noisy', pa.int32()),
        ('country', pa.string()),
        ('continent', pa.string()),
        ('image_number', pa.int32()),
    ]
)
_ROW_GROUP = 122_880


def read_list(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A pickled list as a table, and its counts. The pickles have no countries, so the column is null.

    Raises:
        TrainerError: `bad_row`, naming the row (from 0) and what is wrong with it; those of `read_pickle`.
    """
    rows = read_pickle(path)
    if not isinstance(rows, list) or not rows:
        raise TrainerError('unreadable_file', f'{path} contains a {type(rows).__name__}, not a list of rows.')
    blocks: list[pa.Table] = []
    numbers: dict[str, int] = {}
    for start in range(0, len(rows), _ROW_GROUP):
        columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
        for number, row in enumerate(rows[start : start + _ROW_GROUP], start):
            fault, parts = _parts_of(row)
            if fault:
                raise TrainerError('bad_row', f'{path}, row {number}: {fault}.')
            for name, value in parts.items():
                columns[name].append(value)
            columns['country'].append(None)
            columns['image_number'].append(numbers.setdefault(parts['image_id'], len(numbers)))
            # Its memory is a multiple of what the table needs.
            rows[number] = None
        blocks.append(pa.table(columns, schema=_SCHEMA))
    table = pa.concat_tables(blocks)
    is_labelled = pc.greater_equal(table['label'], 0)
    counts = {
        'rows': len(rows),
        'images': len(numbers),
        'labels': len(pc.unique(table['label'].filter(is_labelled))),
        'noisy': pc.sum(table['noisy']).as_py(),
        'unlabelled': len(rows) - pc.sum(is_labelled).as_py(),
    }
    return table, counts


def _parts_of(row: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(row, tuple) or len(row) != 4:
        return 'it is not a tuple of path, label, noisy and continent', {}
    path, label, noisy, continent = row
    found = _PATH.fullmatch(path) if isinstance(path, str) else None
    if found is None:
        return f'{named(path)} does not end in train, index or test /a/b/c/abc....jpg', {}
    if type(label) is not int or not -1 <= label < 2**31:
        return f'its label is {named(label)}', {}
    if type(noisy) is not int or noisy not in (0, 1):
        return f'noisy is {named(noisy)}, neither 0 nor 1', {}
    if continent != -1 and not (isinstance(continent, str) and _CONTINENT.fullmatch(continent)):
        return f'its continent is {named(continent)}', {}
    known = None if continent in (-1, 'null') else continent
    return '', {'image_id': found[5], 'path': found[1], 'label': label, 'noisy': noisy, 'continent': known}


def import_lists(files: Sequence[Path], out: Path, name: str | None) -> dict[str, Any]:
    """Writes `lists/NAME.parquet` in `out` for each file, or each known one of a folder; returns counts and digests by list.

    Raises:
        TrainerError: as `read_list`; `invalid_configuration` for an unknown file name, or two files of the same list; `missing_file` for
            a missing file or a folder without lists; `storage_full`.
    """
    named = _by_list(files, name)
    folder = out / 'lists'
    parts: list[tuple[Path, Path]] = []
    counts_by_list: dict[str, Any] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for list_name, path in named.items():
            table, counts = read_list(path)
            part, final = folder / f'.{list_name}.parquet.part', folder / f'{list_name}.parquet'
            parts.append((part, final))
            pq.write_table(table, part, compression='zstd', row_group_size=_ROW_GROUP, use_dictionary=['label', 'noisy', 'continent'])
            made = {'path': str(final), 'sha256': sha256_of(part), 'bytes': part.stat().st_size}
            counts_by_list[list_name] = {**counts, **made, 'from': {'path': str(path), 'sha256': sha256_of(path)}}
        for part, final in parts:
            part.rename(final)
    except OSError as error:
        raise from_os_error(error, f'writing {folder}') from error
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)
    return {'lists': counts_by_list}


def _by_list(files: Sequence[Path], name: str | None) -> dict[str, Path]:
    known = ', '.join(LIST_OF_FILE)
    named: dict[str, Path] = {}
    for given in files:
        if not given.exists():
            raise TrainerError('missing_file', f'File or folder not found: {given}.')
        within = [given / file for file in LIST_OF_FILE if (given / file).is_file()] if given.is_dir() else [given]
        if not within:
            raise TrainerError('missing_file', f'The folder {given} has none of {known}.')
        for path in within:
            list_name = name or LIST_OF_FILE.get(path.name)
            if list_name is None:
                raise TrainerError(
                    'invalid_configuration',
                    f'The file name {path} does not identify a list; known names are {known}. Name the list with --list.',
                )
            if list_name in named:
                raise TrainerError('invalid_configuration', f'{named[list_name]} and {path} are both the list {list_name}.')
            named[list_name] = path
    return named


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and imports; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m cairn_trainer.import_lists', description="Imports the reference's pickled lists.")
    parser.add_argument('files', type=Path, nargs='+')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--list', dest='name')
    options = parser.parse_args(arguments)
    return answer_with(lambda: import_lists(options.files, options.out, options.name))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

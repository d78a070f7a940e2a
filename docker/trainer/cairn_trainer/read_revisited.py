"""`python -m cairn_trainer.read_revisited FILE`: reads the published ground truth of revisited Oxford or Paris, `gnd_roxford5k.pkl`.

The pickle contains a dict: `imlist` and `qimlist`, the names of the images and of the queries, and `gnd`, for each query the positions in
    `imlist` of its easy, hard and junk images and its bounding box. One JSON object on standard output: `images` and `queries`; or
    `{"code", "message"}` if the file is rejected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cairn_trainer.errors import TrainerError, answer_with, from_os_error
from cairn_trainer.foreign_arrays import ArrayStandIn
from cairn_trainer.foreign_pickle import named
from cairn_trainer.pickled_items import read_dict

_MOST_BYTES = 64 * 2**20
"""The published files have less than 1 MB."""
_LONGEST_NAME = 200
_KINDS = ('easy', 'hard', 'junk')


def read_revisited(path: Path) -> dict[str, Any]:
    """The images, and the queries with the positions of their easy, hard and junk images.

    Raises:
        TrainerError: `unreadable_file` for another structure; `bad_row`, naming the query, for a wrong position or a name that is not one;
            `unsafe_file` for anything but dicts, lists, strings, numbers and arrays; `missing_file`.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise from_os_error(error, f'reading {path}') from error
    if size > _MOST_BYTES:
        raise TrainerError('unreadable_file', f'{path} has {size} bytes, more than any ground truth of revisited Oxford or Paris.')
    found = read_dict(path, 'the ground truth of revisited Oxford or Paris')
    images, names, truths = (_list_of(found.get(key)) for key in ('imlist', 'qimlist', 'gnd'))
    if images is None or names is None or truths is None or len(names) != len(truths) or not names:
        raise TrainerError(
            'unreadable_file',
            f'{path} is not the ground truth of revisited Oxford or Paris: a dict with imlist, qimlist and gnd, of which the last two have '
            'an entry for each query.',
        )
    for key, given in (('imlist', images), ('qimlist', names)):
        _require_names(path, key, given)
    queries = []
    for number, (name, truth) in enumerate(zip(names, truths, strict=True)):
        where = f'{path}, query {number} ({named(name)})'
        if not isinstance(truth, dict):
            raise TrainerError('bad_row', f'{where}: its ground truth is {named(truth)}, not a dict.')
        queries.append({'id': name, **{kind: _positions(where, kind, truth.get(kind), len(images)) for kind in _KINDS}})
    return {'images': images, 'queries': queries}


def _list_of(value: object) -> list[Any] | None:
    if isinstance(value, ArrayStandIn) and value.value.ndim == 1:
        return list(value.value[:].tolist())
    return list(value) if isinstance(value, list | tuple) else None


def _require_names(path: Path, key: str, given: list[Any]) -> None:
    for number, name in enumerate(given):
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise TrainerError('bad_row', f'{path}: {key}[{number}] is {named(name)}, not the name of an image.')
    if len(set(given)) < len(given):
        twice = next(name for name in given if given.count(name) > 1)
        raise TrainerError('bad_row', f'{path}: {key} has {named(twice)} twice.')


def _positions(where: str, kind: str, value: object, images: int) -> list[int]:
    positions = _list_of(value)
    if positions is None:
        raise TrainerError('bad_row', f'{where}: {kind} is {named(value)}, not a list of positions.')
    for position in positions:
        if type(position) is not int or not 0 <= position < images:
            raise TrainerError('bad_row', f'{where}: {kind} has {named(position)}, not a position in imlist, which has {images} names.')
    return positions


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and reads the file; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m cairn_trainer.read_revisited', description='Reads the ground truth of revisited Oxford or Paris.'
    )
    parser.add_argument('file', type=Path)
    options = parser.parse_args(arguments)
    return answer_with(lambda: read_revisited(options.file))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

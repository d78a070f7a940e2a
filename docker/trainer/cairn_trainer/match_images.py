"""`python -m cairn_trainer.match_images`: counts the points that images have in common.

Reads one JSON object a line from standard input: a MatchingConfig, then MatchingRequests until the end of the input. Writes one a line to
standard output: `{"type": "ready", "matcher"}`, then for each request, in any order, `{"type": "matched", "id", "inliers", "cached",
"unreadable": [{"side", "path", "reason"}]}`; or at last `{"type": "failed", "code", "message"}`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import cv2

from cairn_trainer.config import ImagePlace, MatchingConfig, MatchingRequest
from cairn_trainer.decoding import BadImageError
from cairn_trainer.errors import EXIT_OK, TrainerError, from_unexpected
from cairn_trainer.image_files import FileState, ImageFiles
from cairn_trainer.lifetime import die_with_parent, end_process
from cairn_trainer.local_matching import MatchedImage, inliers_of, prepare_image
from cairn_trainer.matchers import open_matcher
from cairn_trainer.served_images import ServedImages, open_images
from cairn_trainer.typed_json import parse_json

_KEPT_BYTES = 512 * 2**20
"""Prepared images in memory: some 3,500 of SIFT's, or 1,000 grey ones."""
_KEPT_DIGESTS = 500_000

T = TypeVar('T')
Side = Literal['query', 'index']
Name = tuple[Side, str]


class _Kept(Generic[T]):
    """The values used last, up to a sum of sizes. May be used by several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sum = 0
        self._values: OrderedDict[Name, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Name) -> T | None:
        with self._lock:
            if name not in self._values:
                return None
            self._values.move_to_end(name)
            return self._values[name][0]

    def put(self, name: Name, value: T, size: int) -> None:
        with self._lock:
            if name in self._values:
                return
            self._values[name] = (value, size)
            self._sum += size
            while self._sum > self._most and len(self._values) > 1:
                self._sum -= self._values.popitem(last=False)[1][1]


class _PairStore:
    """Inliers by what they depend on, in a file: the digests of both images, and of matcher and settings."""

    def __init__(self, folder: Path, depends: dict[str, Any]) -> None:
        self._path = folder / 'inliers.sqlite'
        self._depends = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path, timeout=60, check_same_thread=False, isolation_level=None)
            self._file.execute('pragma journal_mode = wal')
            self._file.execute('pragma synchronous = normal')  # pairs that are lost with the machine are counted again
            self._file.execute(
                'create table if not exists inliers (depends text, query text, image text, inliers integer not null, '
                'primary key (depends, query, image)) without rowid'
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def get(self, query: str, image: str) -> int | None:
        row = self._execute('select inliers from inliers where depends = ? and query = ? and image = ?', (query, image)).fetchone()
        return None if row is None else row[0]

    def put(self, query: str, image: str, inliers: int) -> None:
        self._execute('insert or replace into inliers values (?, ?, ?, ?)', (query, image, inliers))

    def _execute(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        try:
            with self._lock:
                return self._file.execute(sql, (self._depends, *values))
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> TrainerError:
        remedy = 'Delete it, or name another folder'
        return TrainerError('storage_failed', f'The cache of matches {self._path} cannot be used: {error}. {remedy}.')


class _Image(NamedTuple):
    side: Side
    place: ImagePlace

    @property
    def name(self) -> Name:
        return self.side, self.place.path


class Matching:
    """Answers requests, from several threads. Each image is prepared once as long as it is kept."""

    def __init__(self, config: MatchingConfig) -> None:
        self._config = config
        self._open_files()  # a missing root is an error before any work
        self._matcher = open_matcher(config.matcher_path, config.settings)
        self._prepared: _Kept[MatchedImage] = _Kept(_KEPT_BYTES)
        self._digests: _Kept[str] = _Kept(_KEPT_DIGESTS)
        depends = {'matcher': self._matcher.description, 'settings': asdict(config.settings)}
        self._pairs = None if config.cache is None else _PairStore(Path(config.cache), depends)
        # Each thread has its own: open tars are not shared.
        self._of_thread = threading.local()

    @property
    def matcher(self) -> dict[str, str | None]:
        return self._matcher.description

    def answer(self, request: MatchingRequest) -> dict[str, Any]:
        """The inliers of the query with each image; 0 with one that cannot be read, which is named.

        Raises:
            TrainerError: as `ImageFiles`, the matcher and the store of pairs.
        """
        query = _Image('query', request.query)
        unreadable: dict[Name, str] = {}
        inliers, cached = [], 0
        for place in request.images:
            image = _Image('index', place)
            count = None if query.name in unreadable else self._stored(query, image)
            cached += count is not None
            inliers.append(self._count(query, image, unreadable) if count is None else count)
        named = [{'side': side, 'path': path, 'reason': reason} for (side, path), reason in unreadable.items()]
        return {'type': 'matched', 'id': request.id, 'inliers': inliers, 'cached': cached, 'unreadable': named}

    def _stored(self, query: _Image, image: _Image) -> int | None:
        if self._pairs is None:
            return None
        try:
            return self._pairs.get(self._digest_of(query), self._digest_of(image))
        except BadImageError:
            return None  # is named when it is prepared

    def _count(self, query: _Image, image: _Image, unreadable: dict[Name, str]) -> int:
        prepared = []
        for one in (query, image):
            if one.name in unreadable:
                return 0
            try:
                prepared.append(self._prepare(one))
            except BadImageError as error:
                unreadable[one.name] = str(error)
                return 0
        count = inliers_of(*prepared, self._matcher, self._config.settings)
        if self._pairs is not None:
            self._pairs.put(self._digest_of(query), self._digest_of(image), count)
        return count

    def _prepare(self, image: _Image) -> MatchedImage:
        kept = self._prepared.get(image.name)
        if kept is None:
            kept = prepare_image(self._read(image), self._matcher, self._config.settings.long_side)
            self._prepared.put(image.name, kept, kept.prepared.bytes)
        return kept

    def _digest_of(self, image: _Image) -> str:
        kept = self._digests.get(image.name)
        if kept is None:
            kept = hashlib.sha256(self._read(image)).hexdigest()
            self._digests.put(image.name, kept, 1)
        return kept

    def _read(self, image: _Image) -> bytes:
        place = image.place
        for path in (place.path, place.tar or 'a.tar'):
            if Path(path).is_absolute() or '..' in Path(path).parts:
                raise TrainerError('bad_row', f'The path {path} leads out of the image folder.')
        files: dict[Side, ImageFiles | ServedImages] | None = getattr(self._of_thread, 'files', None)
        if files is None:
            files = self._of_thread.files = self._open_files()
        recorded = FileState(place.file_bytes, place.file_changed_ms) if place.is_recorded else None
        if place.tar is None:
            return files[image.side].read(place.path, recorded)
        if place.offset is None or place.size is None:
            raise BadImageError('it is not in a tar')
        return files[image.side].read_piece(place.tar, place.offset, place.size, recorded)

    def _open_files(self) -> dict[Side, ImageFiles | ServedImages]:
        return {'query': open_images(Path(self._config.query_root)), 'index': open_images(Path(self._config.index_root))}


class _Answers:
    """Lines of standard output; the last is an error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def write(self, answer: dict[str, Any]) -> None:
        with self._lock:
            print(json.dumps(answer), flush=True)

    def fail(self, error: Exception) -> None:
        """Ends the process: what other threads are doing is of no use any more."""
        known = error if isinstance(error, TrainerError) else from_unexpected(error)
        if known is not error:
            traceback.print_exception(error, file=sys.stderr)
        with self._lock:
            print(json.dumps({'type': 'failed', 'code': known.code, 'message': str(known)}), flush=True)
            end_process(known.exit_code)


def main(arguments: Sequence[str]) -> int:
    """Answers until the input ends; returns the exit code."""
    if arguments:
        print('it takes no arguments: see its docstring for the input', file=sys.stderr)
        return 2
    die_with_parent()
    cv2.setNumThreads(1)  # pairs are matched in parallel
    answers = _Answers()
    try:
        config = parse_json(MatchingConfig, sys.stdin.buffer.readline(), 'The configuration of the matching')
        matching = Matching(config)
        answers.write({'type': 'ready', 'matcher': matching.matcher})

        def work(line: bytes) -> None:
            try:
                answers.write(matching.answer(parse_json(MatchingRequest, line, 'A request for matches')))
            except Exception as error:  # noqa: BLE001 - reported with its code
                answers.fail(error)

        with ThreadPoolExecutor(config.threads) as threads:
            for line in sys.stdin.buffer:
                threads.submit(work, line)
    except Exception as error:  # noqa: BLE001 - reported with its code
        answers.fail(error)
    return EXIT_OK


if __name__ == '__main__':
    end_process(main(sys.argv[1:]))

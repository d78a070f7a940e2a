"""The files below a dataset's image folder, and whose fault it is when one cannot be read: its own, or the machine's."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cairn_trainer.errors import TrainerError
from cairn_trainer.transforms import BadImageError

_MISSING, _NO_FILE, _FORBIDDEN = 'the file does not exist', 'it is not a file', 'the file may not be read by this process'
# What is wrong with one image, which is then left out and counted. Any other error is the machine's (EIO, ESTALE, ENOTCONN, EMFILE,
# ENOMEM): it ends the attempt, which is tried again. docs/architecture.md ("Bad images") has the table, for libs/dataset/images too.
_OWN_FAULTS = {
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: _MISSING,
    errno.EISDIR: _NO_FILE,
    errno.ELOOP: _NO_FILE,
    errno.ENAMETOOLONG: _NO_FILE,
    errno.ENXIO: _NO_FILE,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
}
_OPEN_TARS = 64


_LARGEST_IMAGE = 256 * 1024 * 1024
"""Bytes. No photograph is larger; a list with a wrong size must not take all memory."""


@dataclass(frozen=True)
class FileState:
    """A file as it was when the lists were made: its size in bytes and its last change in ms since 1970; None where there was none."""

    size: int | None
    changed_ms: int | None

    def __str__(self) -> str:
        if self.size is None or self.changed_ms is None:
            return 'it was not there'
        return f'it had {self.size} bytes, changed at {_time_of(self.changed_ms)}'


def own_fault(error: OSError) -> str | None:
    """What is wrong with an image that could not be read; None where the machine is at fault."""
    return _OWN_FAULTS.get(error.errno or 0)


class ImageFiles:
    """Reads whole files, and pieces of tars, whose names are relative to the root."""

    def __init__(self, root: Path) -> None:
        """
        Raises:
            TrainerError: `storage_failed` when the root is not there, or empty as a mount point without its file system is.
        """
        self._root = root
        self._identity = _identity_of(root)
        self._tars: dict[str, int] = {}
        if self._identity is None:
            raise self._lost()

    def read(self, path: str, registered: FileState | None = None) -> bytes:
        """The bytes of a file.

        Args:
            registered: The file as the list knows it, where it does.

        Raises:
            BadImageError: the file is at fault.
            TrainerError: `dataset_changed` when it is another file than that of the list; `storage_failed` when the machine is at fault.
        """
        try:
            # A pipe of that name would never be opened otherwise.
            file = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return self._unchanged(file, path, registered, lambda: _read_whole(file))
            finally:
                os.close(file)
        except OSError as error:
            raise self._fault_of(error, path) from error
        except ValueError as error:
            raise BadImageError(f'its path cannot be that of a file: {error}') from error

    def read_piece(self, tar: str, offset: int, size: int, registered: FileState | None = None) -> bytes:
        """`size` bytes of a tar from `offset` on; `registered` is the tar as the list knows it.

        Raises:
            BadImageError: the tar ends before.
            TrainerError: `dataset_changed` when it is another tar than that of the list; `storage_failed` when it cannot be read, for a
                tar holds the images of thousands of rows.
        """
        try:
            file = self._open(tar)
            # No seek: forked loaders share the file's position.
            data = self._unchanged(file, tar, registered, lambda: os.pread(file, size, offset))
        except OSError as error:
            raise TrainerError('storage_failed', f'The tar {self._root / tar} cannot be read: {error.strerror}. Put it back.') from error
        if len(data) != size:
            raise BadImageError(f'{tar} ends before the image does')
        return data

    def _unchanged(self, file: int, path: str, registered: FileState | None, read: Callable[[], bytes]) -> bytes:
        """What `read` gives, of a file that is the registered one before and after it."""
        self._require(file, path, registered)
        data = read()
        self._require(file, path, registered)
        return data

    def _require(self, file: int, path: str, registered: FileState | None) -> None:
        found = os.fstat(file)
        # As Node.js reckons it, in whose time the lists are: of a double, which rounds the last hundred nanoseconds up.
        seconds, nanoseconds = divmod(found.st_mtime_ns, 1_000_000_000)
        state = FileState(found.st_size, math.floor(seconds * 1000 + nanoseconds / 1e6))
        if registered is None or state == registered:
            return
        now = f'{self._root / path} has {state.size} bytes, changed at {_time_of(state.changed_ms or 0)}'
        # Of what a link leads to nothing is told: it may have been turned to a file of this machine since.
        if not Path(f'/proc/self/fd/{file}').readlink().is_relative_to(self._root.resolve()):
            now = f'{self._root / path} leads to another file'
        raise TrainerError(
            'dataset_changed', f'{now}; when the lists were made {registered}. Put the file back, or register the dataset again.'
        )

    def _open(self, tar: str) -> int:
        file = self._tars.get(tar)
        if file is None:
            file = os.open(self._root / tar, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            if len(self._tars) >= _OPEN_TARS:
                os.close(self._tars.pop(next(iter(self._tars))))
            self._tars[tar] = file
        return file

    def _fault_of(self, error: OSError, path: str) -> Exception:
        own = own_fault(error)
        if own is None:
            return TrainerError('storage_failed', f'{self._root / path} cannot be read: {error.strerror}. Check the disk or the mount.')
        # Where the whole tree is gone each file of it is missing; the folder of a split may be a mount of its own.
        split, slash, _ = path.partition('/')
        if _identity_of(self._root) != self._identity or (slash and _identity_of(self._root / split) is None):
            return self._lost()
        return BadImageError(own)

    def _lost(self) -> TrainerError:
        return TrainerError('storage_failed', f'The image folder {self._root} is gone, empty or not readable. Mount it again.')


def _read_whole(file: int) -> bytes:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise BadImageError(_NO_FILE)
    if found.st_size > _LARGEST_IMAGE:
        raise BadImageError(f'it has {found.st_size} bytes; at most {_LARGEST_IMAGE} are read')
    with os.fdopen(os.dup(file), 'rb') as stream:
        return stream.read(found.st_size + 1)


def _time_of(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec='milliseconds')


def _identity_of(folder: Path) -> tuple[int, int] | None:
    """A number for a folder that is there and has something in it."""
    try:
        with os.scandir(folder) as entries:
            if next(entries, None) is None:
                return None
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino

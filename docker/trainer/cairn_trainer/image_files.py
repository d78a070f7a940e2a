"""The files in a dataset's image folder, and whether a read error is the fault of the image or of the machine."""

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

_MISSING, _NO_FILE, _FORBIDDEN = 'the file does not exist', 'it is not a file', 'the file is not readable by this process'
# Faults of a single image, which is then skipped and counted. Any other error is a machine fault (EIO, ESTALE, ENOTCONN, EMFILE, ENOMEM):
# it fails the attempt, and the step is retried. The table is in docs/architecture.md ("Bad images"); libs/dataset/images follows it too.
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
"""Bytes. No photograph is larger; a list with a wrong size must not exhaust memory."""


@dataclass(frozen=True)
class FileState:
    """A file when the lists were made: its size in bytes and its modification time in ms since 1970; None if not recorded."""

    size: int | None
    changed_ms: int | None

    def __str__(self) -> str:
        if self.size is None or self.changed_ms is None:
            return 'it did not exist'
        return f'it had {self.size} bytes, changed at {_time_of(self.changed_ms)}'


def image_fault(error: OSError) -> str | None:
    """The reason why an image could not be read; None if the machine is at fault."""
    return _OWN_FAULTS.get(error.errno or 0)


class ImageFiles:
    """Reads files and parts of tars, with names relative to the root."""

    def __init__(self, root: Path) -> None:
        """
        Raises:
            TrainerError: `storage_failed` if the root does not exist, or is empty like a mount point without its file system.
        """
        self._root = root
        self._identity = _identity_of(root)
        self._tars: dict[str, int] = {}
        if self._identity is None:
            raise self._lost()

    def read(self, path: str, registered: FileState | None = None) -> bytes:
        """The bytes of a file.

        Args:
            registered: The file as recorded in the list, if it is.

        Raises:
            BadImageError: the file is at fault.
            TrainerError: `dataset_changed` if it is not the file recorded in the list; `storage_failed` if the machine is at fault.
        """
        try:
            # Without this opening a named pipe would block forever.
            file = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return self._unchanged(file, path, registered, lambda: _read_whole(file))
            finally:
                os.close(file)
        except OSError as error:
            raise self._fault_of(error, path) from error
        except ValueError as error:
            raise BadImageError(f'its path is invalid: {error}') from error

    def read_piece(self, tar: str, offset: int, size: int, registered: FileState | None = None) -> bytes:
        """`size` bytes of a tar from `offset` on; `registered` is the tar as recorded in the list.

        Raises:
            BadImageError: the tar ends before.
            TrainerError: `dataset_changed` if it is not the tar recorded in the list; `storage_failed` if it cannot be read, because
            a tar has the images of thousands of rows.
        """
        try:
            file = self._open(tar)
            # No seek: forked loaders share the file's position.
            data = self._unchanged(file, tar, registered, lambda: os.pread(file, size, offset))
        except OSError as error:
            raise TrainerError('storage_failed', f'The tar {self._root / tar} cannot be read: {error.strerror}. Restore it.') from error
        if len(data) != size:
            raise BadImageError(f'{tar} ends before the image does')
        return data

    def _unchanged(self, file: int, path: str, registered: FileState | None, read: Callable[[], bytes]) -> bytes:
        """The result of `read`, for a file that is the registered one before and after."""
        self._require(file, path, registered)
        data = read()
        self._require(file, path, registered)
        return data

    def _require(self, file: int, path: str, registered: FileState | None) -> None:
        found = os.fstat(file)
        # As computed by Node.js, which wrote the lists: in a double, which rounds the last hundred nanoseconds up.
        seconds, nanoseconds = divmod(found.st_mtime_ns, 1_000_000_000)
        state = FileState(found.st_size, math.floor(seconds * 1000 + nanoseconds / 1e6))
        if registered is None or state == registered:
            return
        now = f'{self._root / path} has {state.size} bytes, changed at {_time_of(state.changed_ms or 0)}'
        # Nothing about the target of a link is shown: the link may have been changed to a file of this machine.
        if not Path(f'/proc/self/fd/{file}').readlink().is_relative_to(self._root.resolve()):
            now = f'{self._root / path} leads to another file'
        raise TrainerError(
            'dataset_changed', f'{now}; when the lists were made {registered}. Restore the file, or register the dataset again.'
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
        own = image_fault(error)
        if own is None:
            return TrainerError('storage_failed', f'{self._root / path} cannot be read: {error.strerror}. Check the disk or the mount.')
        # If the whole tree is gone every file is missing; the folder of a split may be a separate mount.
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
        raise BadImageError(f'it has {found.st_size} bytes; the maximum is {_LARGEST_IMAGE}')
    with os.fdopen(os.dup(file), 'rb') as stream:
        return stream.read(found.st_size + 1)


def _time_of(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec='milliseconds')


def _identity_of(folder: Path) -> tuple[int, int] | None:
    """An identifier of a folder that exists and is not empty."""
    try:
        with os.scandir(folder) as entries:
            if next(entries, None) is None:
                return None
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino

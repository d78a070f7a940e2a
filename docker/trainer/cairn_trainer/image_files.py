"""The files below a dataset's image folder, and whose fault it is when one cannot be read: its own, or the machine's."""

from __future__ import annotations

import errno
import os
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

    def read(self, path: str) -> bytes:
        """The bytes of a file.

        Raises:
            BadImageError: the file is at fault.
            TrainerError: `storage_failed` when the machine is.
        """
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise self._fault_of(error, path) from error
        except ValueError as error:
            raise BadImageError(f'its path cannot be that of a file: {error}') from error

    def read_piece(self, tar: str, offset: int, size: int) -> bytes:
        """`size` bytes of a tar from `offset` on.

        Raises:
            BadImageError: the tar ends before.
            TrainerError: `storage_failed` when it cannot be read: a tar holds the images of thousands of rows.
        """
        try:
            data = os.pread(self._open(tar), size, offset)  # no seek: forked loaders share the file's position
        except OSError as error:
            raise TrainerError('storage_failed', f'The tar {self._root / tar} cannot be read: {error.strerror}. Put it back.') from error
        if len(data) != size:
            raise BadImageError(f'{tar} ends before the image does')
        return data

    def _open(self, tar: str) -> int:
        file = self._tars.get(tar)
        if file is None:
            file = os.open(self._root / tar, os.O_RDONLY | os.O_CLOEXEC)
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

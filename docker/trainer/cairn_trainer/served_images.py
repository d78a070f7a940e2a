"""Images of a dataset in object storage: the agent reads them, and answers at a socket."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any, BinaryIO

from cairn_trainer.decoding import BadImageError
from cairn_trainer.errors import TrainerError
from cairn_trainer.image_files import FileState, ImageFiles

_LONGEST_WAIT = 900
"""Seconds. The agent waits for its storage for five minutes, and then says more than a timeout would."""


def open_images(root: Path) -> ImageFiles | ServedImages:
    """The images of a folder, or of the agent's socket.

    Raises:
        TrainerError: `storage_failed` if neither is there.
    """
    try:
        is_socket = stat.S_ISSOCK(root.stat().st_mode)
    except OSError:
        is_socket = False
    return ServedImages(root) if is_socket else ImageFiles(root)


class ServedImages:
    """Asks for one image at a time, on a connection of its own for each process and thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._of_thread = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {'_path': self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state['_path'])

    def read(self, path: str, registered: FileState | None = None) -> bytes:
        """As `ImageFiles.read`."""
        return self._ask({'path': path, 'tar': None, 'offset': None, 'size': None, **_recorded(registered)})

    def read_piece(self, tar: str, offset: int, size: int, registered: FileState | None = None) -> bytes:
        """As `ImageFiles.read_piece`."""
        return self._ask({'path': tar, 'tar': tar, 'offset': offset, 'size': size, **_recorded(registered)})

    def announcements(self) -> Announcements:
        """A connection on which to say what is read next."""
        return Announcements(self._path)

    def _ask(self, question: dict[str, Any]) -> bytes:
        try:
            stream = self._stream()
            stream.write(json.dumps(question).encode() + b'\n')
            stream.flush()
            reply = json.loads(stream.readline())
            data = stream.read(reply.get('bytes', 0))
        except (OSError, ValueError) as error:
            self._of_thread.stream = None
            raise _unanswered(self._path, error) from error
        if 'bad' in reply:
            raise BadImageError(reply['bad'])
        if 'code' in reply:
            raise TrainerError(reply['code'], reply['message'])
        if len(data) != reply['bytes']:
            self._of_thread.stream = None
            raise TrainerError('storage_failed', f'The answer of the agent at {self._path} ended early. Retry the step.')
        return data

    def _stream(self) -> BinaryIO:
        owner, stream = getattr(self._of_thread, 'owner', None), getattr(self._of_thread, 'stream', None)
        # A forked loader has its parent's connection, and must not share it.
        if stream is None or owner != os.getpid():
            stream = _connect(self._path)
            self._of_thread.owner, self._of_thread.stream = os.getpid(), stream
        return stream


class Announcements:
    """Names the runs of tars whose images are asked for soon. The agent keeps a run until all who have announced it withdraw it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: BinaryIO | None = None

    def announce(self, run: int, described: dict[str, Any] | None) -> None:
        """`described` is the run of `ImageList.describe_run`, `run` its number. Nothing is answered: faults are those of later reads."""
        if described is not None:
            self._tell({'announce': run, **described})

    def withdraw(self, run: int) -> None:
        self._tell({'withdraw': run})

    def close(self) -> None:
        """Withdraws all that is left."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._stream = self._stream or _connect(self._path)
            self._stream.write(json.dumps(message).encode() + b'\n')
            self._stream.flush()
        except OSError as error:
            raise _unanswered(self._path, error) from error


def _connect(path: Path) -> BinaryIO:
    # The stream keeps the connection open, until it is closed itself.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_LONGEST_WAIT)
        connection.connect(str(path))
        return connection.makefile('rwb')


def _unanswered(path: Path, error: Exception) -> TrainerError:
    return TrainerError('storage_failed', f'The agent does not answer with images at {path}: {error}. Retry the step.')


def _recorded(registered: FileState | None) -> dict[str, int | None]:
    return {} if registered is None else {'fileBytes': registered.size, 'fileChangedMs': registered.changed_ms}

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

    def _ask(self, question: dict[str, Any]) -> bytes:
        try:
            stream = self._stream()
            stream.write(json.dumps(question).encode() + b'\n')
            stream.flush()
            reply = json.loads(stream.readline())
            data = stream.read(reply.get('bytes', 0))
        except (OSError, ValueError) as error:
            self._of_thread.stream = None
            raise TrainerError(
                'storage_failed', f'The agent does not answer with images at {self._path}: {error}. Retry the step.'
            ) from error
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
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_LONGEST_WAIT)
            connection.connect(str(self._path))
            stream = connection.makefile('rwb')
            self._of_thread.owner, self._of_thread.stream = os.getpid(), stream
        return stream


def _recorded(registered: FileState | None) -> dict[str, int | None]:
    return {} if registered is None else {'fileBytes': registered.size, 'fileChangedMs': registered.changed_ms}

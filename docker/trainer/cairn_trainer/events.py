"""The event lines: one JSON object per line, appended with a single write, so that lines of several processes never mix."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from cairn_trainer.errors import TrainerError, from_os_error
from cairn_trainer.foreign_text import plain_text
from cairn_trainer.typed_json import camel_case


class EventLog:
    """Appends events to a file. Rank 0 writes all events; other ranks write only their failure."""

    def __init__(self, path: Path) -> None:
        """Opens the file, creating it if it does not exist.

        Raises:
            TrainerError: `missing_file` if its folder does not exist, `storage_full`.
        """
        self._path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise from_os_error(error, f'opening the event file {path}') from error
        self._start = os.fstat(self._file).st_size

    def emit(self, event: str, **fields: Any) -> None:
        """Appends one event; its fields' names become camelCase.

        Raises:
            TrainerError: `storage_full` if the disk is full.
            ValueError: a number is not finite, which JSON cannot represent.
        """
        said = {camel_case(name): plain_text(value) if isinstance(value, str) else value for name, value in fields.items()}
        line = {'event': event, 'time': time.time(), **said}
        data = (json.dumps(line, allow_nan=False, separators=(',', ':')) + '\n').encode()
        try:
            written = os.write(self._file, data)
        except OSError as error:
            raise from_os_error(error, f'writing the event file {self._path}') from error
        if written != len(data):
            raise TrainerError('storage_full', f'Only {written} of {len(data)} bytes of an event could be written to {self._path}.')

    def has_failed(self) -> bool:
        """True if any rank has appended a `failed` event since this log was opened."""
        with self._path.open('rb') as file:
            file.seek(self._start)
            return any(line.startswith(b'{"event":"failed"') for line in file)

    def close(self) -> None:
        os.close(self._file)

"""Curves as TensorBoard event files.

tensorboardX's SummaryWriter uses a thread, which is unsafe when loader processes are forked; its record writer has none.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from cairn_trainer.errors import from_os_error


class TensorBoardLog:
    """One event file in a folder, flushed after each call. Raises the errors of EventLog."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """`first_step` is the step that the stage continues from: TensorBoard drops later steps of earlier files.

        Raises:
            TrainerError: `storage_full`.
        """
        self._path = folder / f'events.out.tfevents.{int(time.time())}.{os.getpid()}'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(str(self._path))
        except OSError as error:
            raise from_os_error(error, f'opening {self._path}') from error
        self._write(Event(file_version='brain.Event:2'))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, **values: float) -> None:
        """Adds one point per curve."""
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            raise from_os_error(error, f'writing {self._path}') from error

"""Checkpoints: their content, atomic writing, and verified reading."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from cairn_trainer.config import StoredFile
from cairn_trainer.digest import sha256_of
from cairn_trainer.errors import TrainerError, from_os_error

_FORMAT = 'cairn-checkpoint-1'
# The behaviour before the setting existed: older checkpoints do not contain it.
_BEFORE_SETTINGS = {'partialStep': 'drop'}


@dataclass(frozen=True)
class WrittenFile:
    """A complete file on disk."""

    path: Path
    sha256: str
    bytes: int


class _HashingFile:
    """Forwards writes and hashes them. torch.save writes sequentially, without seeking."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        self.sha256.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def write_torch_file(path: Path, content: Mapping[str, Any]) -> WrittenFile:
    """Writes tensors and plain values to a temporary file, syncs it and renames it to `path`, which is complete or does not exist.

    Raises:
        TrainerError: `storage_full`; `missing_file` if the folder does not exist.
    """
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with part.open('wb') as file:
            hashing = _HashingFile(file)
            torch.save(dict(content), hashing)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise from_os_error(error, f'writing {path}') from error
    except RuntimeError as error:
        # torch's writer wraps the OSError of a failed write, and fails again on close.
        part.unlink(missing_ok=True)
        cause = _os_error_behind(error)
        raise (from_os_error(cause, f'writing {path}') if cause else error) from error
    return WrittenFile(path, hashing.sha256.hexdigest(), hashing.bytes)


def _os_error_behind(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def verify(stored: StoredFile) -> None:
    """Compares a file with its sha256.

    Raises:
        TrainerError: `missing_file`; `corrupt_artifact` if it differs.
    """
    path = Path(stored.path)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise from_os_error(error, f'reading {path}') from error
    if digest != stored.sha256:
        raise TrainerError('corrupt_artifact', f'The file {path} has the sha256 {digest}, not {stored.sha256}. Download it again.')


def read_verified(stored: StoredFile) -> dict[str, Any]:
    """The content of a Cairn checkpoint: tensors on the CPU and plain values, nothing executable.

    Raises:
        TrainerError: `missing_file`; `corrupt_artifact` if its sha256 differs or it cannot be read.
    """
    verify(stored)
    path = Path(stored.path)
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        raise TrainerError('corrupt_artifact', f'The checkpoint {path} cannot be read: {error}') from error
    if not isinstance(content, dict):
        raise TrainerError('corrupt_artifact', f'The checkpoint {path} holds a {type(content).__name__}, not named tensors.')
    return content


def stage_checkpoint(**parts: Any) -> dict[str, Any]:
    """A checkpoint that the stage can resume from."""
    return {'format': _FORMAT, **parts}


def check_same_stage(content: Mapping[str, Any], expected: Mapping[str, Any], source: str) -> None:
    """Compares the checkpoint's `stage` with this stage.

    Raises:
        TrainerError: `model_mismatch`, naming each value that differs.
    """
    if content.get('format') != _FORMAT:
        raise TrainerError('model_mismatch', f'{source} has only weights, so no stage can be resumed from it.')
    found = {**_BEFORE_SETTINGS, **content['stage']}
    faults = [
        f'{name} is {found.get(name)!r} in the checkpoint and {value!r} in this stage'
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if faults:
        raise TrainerError('model_mismatch', f'{source} belongs to another stage: ' + '; '.join(faults) + '.')


def checkpoint_name(step: int) -> str:
    return f'checkpoint-{step:06d}.pt'


class CheckpointSchedule:
    """When a checkpoint is due: every given number of epochs, optimizer steps and minutes (0: disabled) of rank 0's clock."""

    def __init__(self, *, every_epochs: int, every_steps: int, every_minutes: float, steps_per_epoch: int) -> None:
        self._every_epoch_steps = every_epochs * steps_per_epoch
        self._every_steps = every_steps
        self._every_seconds = every_minutes * 60
        self._last = time.monotonic()

    def is_due_after(self, step: int) -> bool:
        """After `step` optimizer steps; the same on every rank."""
        return step % self._every_epoch_steps == 0 or (self._every_steps > 0 and step % self._every_steps == 0)

    def is_time_over(self) -> bool:
        """By this rank's clock."""
        return self._every_seconds > 0 and time.monotonic() - self._last >= self._every_seconds

    def record_written(self) -> None:
        self._last = time.monotonic()

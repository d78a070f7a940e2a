"""A third-party file whose reader may not fill the memory: one byte of a pickle can make an object of 64."""

from __future__ import annotations

import io
import resource
from pathlib import Path

_STATM = Path('/proc/self/statm')
_BUFFER = 2**20


def open_limited(path: Path, growth: int) -> io.BufferedReader:
    """Opens a file for reading, from which no more is read once this process has grown by `growth` bytes.

    Not a limit of the kernel: other threads of the process would fail too.

    Raises:
        MemoryError: when reading, once the process has grown so much. Only on Linux.
    """
    return io.BufferedReader(_LimitedFile(path, growth), _BUFFER)


class _LimitedFile(io.FileIO):
    def __init__(self, path: Path, growth: int) -> None:
        super().__init__(path)
        self._most = _used_bytes() + growth

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        if _used_bytes() > self._most:
            raise MemoryError
        # A reader may ask for gigabytes at once, which it has allocated, but not used yet.
        return super().readinto(memoryview(buffer)[:_BUFFER]) or 0


def _used_bytes() -> int:
    """The resident memory of this process; 0 where it is not known."""
    return int(_STATM.read_text(encoding='ascii').split()[1]) * resource.getpagesize() if _STATM.exists() else 0

"""Digests of files; does not import torch, which takes seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

_READ_BYTES = 2**18


def sha256_of(path: Path) -> str:
    """A file's sha256 in hexadecimal. hashlib.file_digest needs Python 3.11.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open('rb', buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()

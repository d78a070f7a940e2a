"""Freed memory stays with the process."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 1024 * 1024
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells the C library not to give freed memory back to the kernel; False where it is not glibc, which alone can be told so.

    Each training step asks for what the step before freed. Without this large tensors get fresh pages each time, and the kernel fills them
    with zeros: a tenth and more of the processor time of a rank that trains on a CPU.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)

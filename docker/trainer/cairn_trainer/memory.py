"""Keeps freed memory in the process."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 1024 * 1024
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Configures the C library not to return freed memory to the kernel; returns False if it is not glibc.

    Each optimizer step allocates what the previous one freed. Without this large tensors get new pages each time, which the kernel
    fills with zeros: 10 % or more of the CPU time of a rank that trains on a CPU.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)

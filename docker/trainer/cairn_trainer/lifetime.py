"""The lifetime of a process: it dies with its parent, and stops cleanly on request."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1

_is_asked_to_stop = False


def die_with_parent() -> None:
    """Lets the kernel kill this process when its parent ends, so that no rank outlives its run. Linux only; a no-op elsewhere.

    The parent is the thread that forked, so it must not be a thread that ends before its process.
    """
    if sys.platform != 'linux':
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # The parent ended before the call above, so the signal will never arrive.
        os.kill(os.getpid(), signal.SIGKILL)


def record_stop_signals() -> None:
    """Makes SIGTERM and SIGHUP set a flag instead of ending the process; the training loop checks it in each step."""

    def remember(_signal: int, _frame: FrameType | None) -> None:
        ask_to_stop()

    signal.signal(signal.SIGTERM, remember)
    signal.signal(signal.SIGHUP, remember)
    # A terminal sends SIGINT to every process of the group; the launcher sends SIGTERM to the ranks instead.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def restore_stop_signals() -> None:
    """Lets SIGTERM and SIGHUP end the process again: there is nothing left to save."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def ask_to_stop() -> None:
    """Records the stop request. It is inherited by a fork: a rank forked after the request knows it too."""
    global _is_asked_to_stop  # noqa: PLW0603 - a signal handler can only set a global
    _is_asked_to_stop = True


def has_received_sigterm() -> bool:
    return _is_asked_to_stop


def is_asked_to_stop(stop_path: Path) -> bool:
    """True after SIGTERM, or while the file `stop_path` exists."""
    return _is_asked_to_stop or stop_path.exists()


def end_process(code: int) -> NoReturn:
    """Flushes the output and ends this process immediately, without the interpreter's shutdown.

    The shutdown would wait for loader processes without a limit, and torch's compiler would print leaks to stderr.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def usable_cores() -> int:
    """CPU cores available to this process: its affinity, limited by the cgroup's quota. At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else (os.cpu_count() or 1)
    try:
        quota, period = Path('/sys/fs/cgroup/cpu.max').read_text(encoding='ascii').split()
    except (OSError, ValueError):
        return cores
    return cores if quota == 'max' else max(1, min(cores, int(quota) // int(period)))

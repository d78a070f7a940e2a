"""How long a process lives: it dies with its parent, and it ends in order when it is asked to stop."""

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
    """Has the kernel kill this process when its parent ends, so that no rank outlives its run. Linux only; elsewhere nothing happens.

    The parent is the thread that forked, so it must not be a thread that ends before its process.
    """
    if sys.platform != 'linux':
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # The parent ended between the start and the call above, so its signal will never come.
        os.kill(os.getpid(), signal.SIGKILL)


def note_stop_signals() -> None:
    """From now on SIGTERM and SIGHUP are remembered instead of ending the process; the training loop asks at each step."""

    def remember(_signal: int, _frame: FrameType | None) -> None:
        ask_to_stop()

    signal.signal(signal.SIGTERM, remember)
    signal.signal(signal.SIGHUP, remember)
    # A terminal sends SIGINT to every process of the group; the launcher turns it into SIGTERM for the ranks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def heed_stop_signals() -> None:
    """From now on SIGTERM and SIGHUP end the process again: there is nothing left to save."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def ask_to_stop() -> None:
    """Remembers the wish. It outlives a fork: a rank forked after the launcher was asked to stop knows it too."""
    global _is_asked_to_stop  # noqa: PLW0603 - the one place where a signal handler can leave its word
    _is_asked_to_stop = True


def has_heard_sigterm() -> bool:
    return _is_asked_to_stop


def is_asked_to_stop(stop_path: Path) -> bool:
    """True after SIGTERM, and while the file `stop_path` exists."""
    return _is_asked_to_stop or stop_path.exists()


def end_process(code: int) -> NoReturn:
    """Ends this process at once, its output written, without the interpreter's own end.

    That would wait for loader processes without a limit, and torch's compiler fills stderr there with what it did not free.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def usable_cores() -> int:
    """CPU cores that this process may use: its affinity, cut by the control group's quota. At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else (os.cpu_count() or 1)
    try:
        quota, period = Path('/sys/fs/cgroup/cpu.max').read_text(encoding='ascii').split()
    except (OSError, ValueError):
        return cores
    return cores if quota == 'max' else max(1, min(cores, int(quota) // int(period)))

"""`python -m cairn_trainer.launch <torchrun's arguments> -m cairn_trainer --config stage.json`: torchrun, adapted to the agent.

- The launcher dies with its parent, and the ranks with the launcher.
- With --standalone the ranks rendezvous through files and 127.0.0.1, without DNS queries, which take 10 s if no name server responds.
- SIGTERM is forwarded to the ranks, which save a checkpoint and end; they have the sender's grace period, not torchrun's.
- SIGUSR1 is forwarded too: each rank then writes its stacks to stderr.
- It exits with the code of the first rank that failed, and reports in the event file a rank that could not report itself (killed, out
      of memory).
- Without a GPU the ranks are forked from this process, which already has torch and its compiler in memory: this saves
      the imports in each rank, four seconds of CPU time. With a GPU they are started as new processes, since CUDA does not survive a
      fork; in Python's isolated mode, like this launcher.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cairn_trainer import start
from cairn_trainer.config import events_path_of
from cairn_trainer.errors import EXIT_INTERNAL, EXIT_OK, TrainerError, from_ended_process
from cairn_trainer.events import EventLog
from cairn_trainer.lifetime import ask_to_stop, die_with_parent, end_process

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_MODULE = 'cairn_trainer'
_LOOPBACK = '127.0.0.1'


def main(arguments: Sequence[str]) -> int:
    """Runs the ranks until they end; returns the exit code."""
    die_with_parent()
    _pass_signals_on()
    events = _open_events(arguments)
    # Importing allocates hundreds of thousands of permanent objects; collecting them takes a tenth of the startup time.
    gc.disable()
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    socket.getfqdn = lambda name='': name or _LOOPBACK  # required by the elastic agent, for its records only
    parsed = torchrun.parse_args(list(arguments))
    is_ours = parsed.module and parsed.training_script == _MODULE
    with tempfile.TemporaryDirectory(prefix='cairn-launch-') as records:
        _adjust(parsed, records)
        config, entrypoint, entrypoint_arguments = torchrun.config_from_args(parsed)
        if is_ours and _may_fork():
            from cairn_trainer.rank import preload

            preload()
            config.start_method = 'fork'
            entrypoint, entrypoint_arguments = _forked_rank, [list(parsed.training_script_args)]
        elif is_ours:
            entrypoint = sys.executable
            entrypoint_arguments = ['-I', '-u', start.__file__, _MODULE, *parsed.training_script_args]
        gc.enable()
        gc.freeze()
        try:
            elastic_launch(config, entrypoint)(*entrypoint_arguments)
        except ChildFailedError as error:
            failure = error.get_first_failure()[1]
            _report_silent_end(failure, events)
            return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return EXIT_OK


def _may_fork() -> bool:
    return not Path('/dev/nvidiactl').exists()


def _forked_rank(arguments: list[str]) -> None:
    from cairn_trainer.__main__ import main as rank_main

    code = rank_main(arguments)
    if code != EXIT_OK:
        end_process(code)


def _adjust(parsed: argparse.Namespace, records: str) -> None:
    """torchrun's options for this launcher; `records` is a folder for the elastic agent's files."""
    if parsed.standalone:
        # Files, not torch's TCP store, which does a reverse DNS lookup of ::ffff:127.0.0.1 in the agent and in every rank.
        parsed.standalone = False
        parsed.rdzv_backend = 'c10d'
        parsed.rdzv_endpoint = f'{records}/agent'
        parsed.rdzv_conf = 'store_type=file'
        parsed.rdzv_id = str(uuid.uuid4())
        parsed.local_addr = _LOOPBACK
        os.environ['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'
        if parsed.module and parsed.training_script == _MODULE:
            parsed.training_script_args += ['--rendezvous', f'{records}/ranks']
    if parsed.master_port is None:
        parsed.master_port = 29500
    parsed.log_dir = parsed.log_dir or records
    # This signal ends the run in torchrun's way; this launcher handles SIGTERM, SIGINT and SIGHUP.
    parsed.signals_to_handle = 'SIGQUIT'
    # Each rank sets its threads itself; without this torchrun would warn.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    # The ranks and this launcher report what happened; the elastic agent would print a page of traceback.
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)


def _pass_signals_on() -> None:
    launcher = os.getpid()

    def to_ranks(number: int) -> None:
        # A newly forked rank also has this handler, until it sets its own.
        for child in _children() if os.getpid() == launcher else []:
            os.kill(child, number)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        ask_to_stop()
        to_ranks(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGUSR1, lambda number, _frame: to_ranks(number))


def _children() -> list[int]:
    """The live child processes."""
    found: list[int] = []
    for thread in Path('/proc/self/task').iterdir():
        found += map(int, (thread / 'children').read_text(encoding='ascii').split())
    return found


def _open_events(arguments: Sequence[str]) -> EventLog | None:
    """The event file of the stage, if the arguments name one."""
    if '--config' not in arguments[:-1]:
        return None
    path = events_path_of(Path(arguments[list(arguments).index('--config') + 1]))
    try:
        return EventLog(Path(path)) if path is not None else None
    except TrainerError as error:
        print(f'launcher: {error}', file=sys.stderr, flush=True)
        return None


def _report_silent_end(failure: ProcessFailure, events: EventLog | None) -> None:
    code = failure.exitcode
    failure_error = from_ended_process(f'Rank {failure.local_rank} (pid {failure.pid})', code)
    print(f'launcher: {failure_error}', file=sys.stderr, flush=True)
    is_silent = code < 0 or code == EXIT_INTERNAL or code == 1
    if events is None or not is_silent or events.has_failed():
        return
    try:
        events.emit('failed', code=failure_error.code, message=str(failure_error))
    except TrainerError as error:
        print(f'launcher: the failure cannot be recorded: {error}', file=sys.stderr, flush=True)


if __name__ == '__main__':
    end_process(main(sys.argv[1:]))

"""`python -m cairn_trainer.launch <torchrun's arguments> -m cairn_trainer --config stage.json`: torchrun, adjusted to an agent's needs.

- The launcher dies with its parent, and the ranks with the launcher.
- With --standalone the ranks meet through files and 127.0.0.1, and no name server is asked: where none answers, a question takes 10 s.
- SIGTERM is passed on to the ranks, which save a checkpoint and end; they get the time that the sender gives them, not torchrun's limit.
- SIGUSR1 is passed on too: each rank then writes its stacks to stderr.
- It ends with the exit code of the first rank that failed, and tells in the event file of a rank that could not tell itself (a kill, a
  lack of memory).
- Without a GPU the ranks are forked from this process, which has torch and its compiler in memory already: that saves each rank the
  imports, four seconds of a core. With a GPU they are started anew, since CUDA does not outlive a fork; in Python's isolated mode, as
  this launcher is.
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
from cairn_trainer.errors import EXIT_INTERNAL, EXIT_OK, TrainerError, of_ended_process
from cairn_trainer.events import EventLog
from cairn_trainer.lifetime import ask_to_stop, die_with_parent, end_process

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_MODULE = 'cairn_trainer'
_LOOPBACK = '127.0.0.1'


def main(arguments: Sequence[str]) -> int:
    """Runs the ranks to their end; the exit code."""
    die_with_parent()
    _pass_signals_on()
    events = _open_events(arguments)
    # Importing allocates hundreds of thousands of objects that stay; collecting among them costs a tenth of the start.
    gc.disable()
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    socket.getfqdn = lambda name='': name or _LOOPBACK  # the elastic agent asks for it, for its records only
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
            _tell_of_silent_end(failure, events)
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
    """torchrun's options as this launcher needs them; `records` is a folder for the agent's own files."""
    if parsed.standalone:
        # Files, not torch's TCP store: that asks a name server for the name of ::ffff:127.0.0.1, in the agent and in every rank.
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
    # This one ends the run in torchrun's way; SIGTERM, SIGINT and SIGHUP are ours.
    parsed.signals_to_handle = 'SIGQUIT'
    # Each rank sets its threads itself; unset, torchrun would warn.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    # The ranks and this launcher say what happened; the agent's own account is a page of traceback.
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)


def _pass_signals_on() -> None:
    launcher = os.getpid()

    def to_ranks(number: int) -> None:
        # A rank just forked has this handler too, until it sets its own.
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
    """The processes that this one started and that live."""
    found: list[int] = []
    for thread in Path('/proc/self/task').iterdir():
        found += map(int, (thread / 'children').read_text(encoding='ascii').split())
    return found


def _open_events(arguments: Sequence[str]) -> EventLog | None:
    """The event file of the stage, when the arguments lead to one."""
    if '--config' not in arguments[:-1]:
        return None
    path = events_path_of(Path(arguments[list(arguments).index('--config') + 1]))
    try:
        return EventLog(Path(path)) if path is not None else None
    except TrainerError as error:
        print(f'launcher: {error}', file=sys.stderr, flush=True)
        return None


def _tell_of_silent_end(failure: ProcessFailure, events: EventLog | None) -> None:
    code = failure.exitcode
    told = of_ended_process(f'Rank {failure.local_rank} (pid {failure.pid})', code)
    print(f'launcher: {told}', file=sys.stderr, flush=True)
    is_silent = code < 0 or code == EXIT_INTERNAL or code == 1
    if events is None or not is_silent or events.has_failed():
        return
    try:
        events.emit('failed', code=told.code, message=str(told))
    except TrainerError as error:
        print(f'launcher: the failure cannot be recorded: {error}', file=sys.stderr, flush=True)


if __name__ == '__main__':
    end_process(main(sys.argv[1:]))

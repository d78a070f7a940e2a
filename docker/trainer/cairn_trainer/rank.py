"""One rank from its start to its exit code: threads, determinism, the stage, and the report of a failure."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

from cairn_trainer.config import TrainerConfig, events_path_of, read_trainer_config
from cairn_trainer.errors import EXIT_INTERNAL, TrainerError, from_unexpected
from cairn_trainer.events import EventLog
from cairn_trainer.gpu import check_gpu, keep_freed_memory
from cairn_trainer.lifetime import has_received_sigterm, restore_stop_signals, usable_cores
from cairn_trainer.ranks import PeerLostError, Ranks
from cairn_trainer.train import Stage

_REPORT_WAIT_SECONDS = 2.0
_REPORT_POLL_SECONDS = 0.05
_CAUSE_SECONDS = 5.0


def run_rank(config_path: Path, rendezvous: Path | None = None) -> int:
    """Trains this rank's part of the stage; returns the exit code. A failure is reported in the event file and on stderr."""
    # An agent that suspects a hang sends SIGUSR1; the stacks go to stderr.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    faulthandler.enable()
    events_path = events_path_of(config_path)
    events: EventLog | None = None
    ranks = Ranks()
    if ranks.device.type == 'cpu':
        keep_freed_memory()
    try:
        if events_path is not None:
            events = EventLog(Path(events_path))
        config = read_trainer_config(config_path)
        _check_ranks(config, ranks)
        _set_up_torch(config, ranks)
        ranks.join(rendezvous)
        assert events is not None
        return Stage(config, ranks, events).run()
    except PeerLostError as error:
        print(f'rank {ranks.rank}: communication with the other ranks failed: {error}', file=sys.stderr, flush=True)
        # The launcher reports the rank that it sees end first, which must be the one with the cause. Its SIGTERM may have arrived already;
        # otherwise it ends this wait.
        restore_stop_signals()
        if has_received_sigterm():
            return EXIT_INTERNAL
        time.sleep(_CAUSE_SECONDS)
        # No rank is gone, so this rank is the cause.
        if events is not None and not events.has_failed():
            report_failure(from_unexpected(error.__cause__ or error), events, ranks)
        return EXIT_INTERNAL
    except TrainerError as error:
        report_failure(error, events, ranks)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - top level: every error is reported
        traceback.print_exc()
        unexpected = from_unexpected(error)
        report_failure(unexpected, events, ranks)
        return unexpected.exit_code
    finally:
        ranks.leave()
        restore_stop_signals()


def preload() -> None:
    """Imports the modules that a rank imports late, including torch's compiler, for ranks that are forked from this process."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])


def report_failure(error: TrainerError, events: EventLog | None, ranks: Ranks) -> None:
    """Reports a failure once: rank 0 reports common failures, other ranks their own."""
    print(f'rank {ranks.rank}: {error.code}: {error}', file=sys.stderr, flush=True)
    if events is None:
        return
    if ranks.is_first or not (error.is_agreed or _is_reported_by_another(events)):
        try:
            events.emit('failed', code=error.code, message=str(error))
        except TrainerError as cause:
            print(f'rank {ranks.rank}: the failure cannot be recorded: {cause}', file=sys.stderr, flush=True)
    if error.is_agreed:
        # torchrun ends the other ranks when the first one exits, so none may exit before rank 0 has reported.
        ranks.barrier()


def _is_reported_by_another(events: EventLog) -> bool:
    """Ranks often have the same failure (a missing list) at nearly the same time; rank 0 gets a moment to report it."""
    deadline = time.monotonic() + _REPORT_WAIT_SECONDS
    while time.monotonic() < deadline:
        if events.has_failed():
            return True
        time.sleep(_REPORT_POLL_SECONDS)
    return False


def _check_ranks(config: TrainerConfig, ranks: Ranks) -> None:
    if ranks.world != config.settings.ranks:
        raise TrainerError(
            'invalid_configuration',
            f'settings.ranks is {config.settings.ranks}, but {ranks.world} ranks were started.',
        )


def _set_up_torch(config: TrainerConfig, ranks: Ranks) -> None:
    """Fixes the number of threads and, with `deterministic`, the algorithms: sums depend on the number of threads."""
    torch.set_num_threads(config.settings.threads_per_rank or max(1, usable_cores() // ranks.local_world))
    torch.set_num_interop_threads(1)
    is_cuda = ranks.device.type == 'cuda'
    if is_cuda:
        check_gpu(ranks.device, config.settings.precision)
    if not config.settings.deterministic:
        torch.backends.cudnn.benchmark = True
        return
    if is_cuda:
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        torch.backends.cudnn.benchmark = False
    # Not use_deterministic_algorithms: the same switch, but it imports torch._inductor. On CUDA an operation without one only warns.
    torch.set_deterministic_debug_mode('warn' if is_cuda else 'error')
    # In deterministic mode torch would fill new memory with NaN, to find uninitialised reads.
    torch.utils.deterministic.fill_uninitialized_memory = False

"""`python -m cairn_trainer --config stage.json`, alone or under torchrun: trains one stage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cairn_trainer import PROTOCOL
from cairn_trainer.lifetime import die_with_parent, end_process, record_stop_signals


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and trains; returns the exit code."""
    die_with_parent()
    record_stop_signals()
    parser = argparse.ArgumentParser(prog='python -m cairn_trainer', description='Trains one stage.')
    parser.add_argument('--config', type=Path, help='the stage, as JSON')
    parser.add_argument('--rendezvous', type=Path, help='a rendezvous file for the ranks of one machine; by default as set by torchrun')
    parser.add_argument('--version', action='version', version=f'cairn_trainer protocol {PROTOCOL}')
    parsed = parser.parse_args(arguments)
    if parsed.config is None:
        parser.error('--config is missing')
    from cairn_trainer.rank import run_rank  # deferred: importing torch takes two seconds

    return run_rank(parsed.config, parsed.rendezvous)


if __name__ == '__main__':
    end_process(main(sys.argv[1:]))

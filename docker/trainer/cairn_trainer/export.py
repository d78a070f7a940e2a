"""`python -m cairn_trainer.export --config export.json`: exports a checkpoint to ONNX."""

from __future__ import annotations

import argparse
import gc
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from cairn_trainer.config import events_path_of, read_exporter_config
from cairn_trainer.errors import EXIT_INTERNAL, EXIT_OK, TrainerError, from_unexpected
from cairn_trainer.events import EventLog
from cairn_trainer.lifetime import die_with_parent


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and exports; returns the exit code. A failure is reported in the event file and on stderr."""
    die_with_parent()
    parser = argparse.ArgumentParser(prog='python -m cairn_trainer.export', description='Exports a checkpoint to ONNX.')
    parser.add_argument('--config', type=Path, required=True, help='the export, as JSON')
    path: Path = parser.parse_args(arguments).config
    events: EventLog | None = None
    try:
        events_path = events_path_of(path)
        if events_path is not None:
            events = EventLog(Path(events_path))
        config = read_exporter_config(path)
        gc.disable()  # objects from imports are permanent: collecting them takes a tenth of the startup time
        from cairn_trainer.onnx_export import export

        gc.enable()
        assert events is not None
        export(config, events)
    except TrainerError as error:
        _report(error, events)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - top level: every error is reported
        traceback.print_exc()
        _report(from_unexpected(error), events)
        return EXIT_INTERNAL
    return EXIT_OK


def _report(error: TrainerError, events: EventLog | None) -> None:
    print(f'export: {error.code}: {error}', file=sys.stderr, flush=True)
    if events is None:
        return
    try:
        events.emit('failed', code=error.code, message=str(error))
    except TrainerError as cause:
        print(f'export: the failure cannot be recorded: {cause}', file=sys.stderr, flush=True)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

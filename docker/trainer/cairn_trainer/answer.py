"""The result of an import program: one JSON object on standard output, and an exit code."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from cairn_trainer.errors import EXIT_OK, TrainerError, from_unexpected


def answer_with(work: Callable[[], dict[str, Any]]) -> int:
    """Prints the result of `work`, or `{"code", "message", "mismatches"}` if it fails; returns the exit code."""
    try:
        answer = work()
    except Exception as error:  # noqa: BLE001 - reported below with its code
        known = error if isinstance(error, TrainerError) else from_unexpected(error)
        if known is not error:
            traceback.print_exc(file=sys.stderr)
        print(json.dumps({'code': known.code, 'message': str(known), 'mismatches': getattr(known, 'mismatches', [])}))
        return known.exit_code
    print(json.dumps(answer))
    return EXIT_OK

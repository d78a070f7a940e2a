"""Files of tensors from elsewhere: read without running anything of them. What a file must not hold is named."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cairn_trainer.errors import TrainerError, of_os_error
from cairn_trainer.foreign_pickle import named

_FORBIDDEN_GLOBAL = re.compile(r'GLOBAL ([\w.]+)')


def read_named_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote, by name; those of `state_dict` where the file has one.

    Raises:
        TrainerError: `missing_file`; `unsafe_file` when its pickle wants more than tensors and plain values; `unreadable_file` when it
            is cut off, of another format, or holds no named tensors.
    """
    content = _read_plain(path)
    if not isinstance(content, Mapping):
        raise TrainerError('unreadable_file', f'{path} holds a {type(content).__name__}, not tensors by name.')
    state = content.get('state_dict', content)
    if not isinstance(state, Mapping) or not state:
        raise TrainerError('unreadable_file', f'{path} holds no tensors by name.')
    others = [named(key) for key, value in state.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if others:
        raise TrainerError(
            'unreadable_file',
            f'{path} holds more than tensors by name: {_some(others)}. Save the tensors alone: torch.save(model.state_dict(), path).',
        )
    return dict(state)


def _read_plain(path: Path) -> Any:
    try:
        with path.open('rb') as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise of_os_error(error, f'reading {path}') from error
    if is_empty:
        raise TrainerError('unreadable_file', f'{path} is empty.')
    try:
        return torch.load(path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch lets many kinds through, by what is wrong where
        forbidden = _FORBIDDEN_GLOBAL.search(str(error))
        if forbidden:
            raise TrainerError(
                'unsafe_file', f'{path} wants to call {forbidden[1]} when it is read; a file of tensors needs nothing of the kind.'
            ) from error
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise TrainerError('unreadable_file', f'{path} is no whole file of torch.save: {first[0][:300]}') from error


def _some(names: list[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')

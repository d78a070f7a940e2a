"""Files of tensors, ours or from elsewhere: read without running anything of them. What a file must not hold is named.

All that reads weights reads them here: the check of an import, the start of a stage, the export.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cairn_trainer.checkpoint import verify
from cairn_trainer.config import StoredFile
from cairn_trainer.errors import TrainerError, of_os_error
from cairn_trainer.foreign_pickle import named, read_pickle
from cairn_trainer.foreign_text import plain_name

_FORBIDDEN_GLOBAL = re.compile(r'GLOBAL ([\w.]+)')
_WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net', 'network')
"""Under which training programs keep the tensors beside an epoch, an optimizer and so on; `model` is ours. One may hold another."""
_PREFIXES = ('module.', '_orig_mod.')
"""What DistributedDataParallel and torch.compile put before every name."""
_MOST_TENSORS = 100_000
_MOST_WRAPPERS = 4
"""One within another; a pickle may hold a dict that lies in itself."""


def read_stored_tensors(stored: StoredFile) -> dict[str, Tensor]:
    """`read_named_tensors` of a file that must have the sha256 that is recorded of it.

    Raises:
        TrainerError: `corrupt_artifact` when it has another one; those of `read_named_tensors`.
    """
    verify(stored)
    return read_named_tensors(Path(stored.path))


def read_named_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote, by name: without what wraps them and without the prefixes of a wrapped network.

    Raises:
        TrainerError: `missing_file`; `unsafe_file` when its pickle wants more than tensors and plain values; `unreadable_file` when it
            is cut off, of another format, or holds no named tensors.
    """
    state = _unwrapped(_read_plain(path))
    if not isinstance(state, Mapping):
        raise TrainerError('unreadable_file', f'{path} holds a {type(state).__name__}, not tensors by name.')
    if not state:
        raise TrainerError('unreadable_file', f'{path} holds no tensors by name.')
    if len(state) > _MOST_TENSORS:
        raise TrainerError('unreadable_file', f'{path} holds {len(state)} values by name; at most {_MOST_TENSORS} are read.')
    others = [named(key) for key, value in state.items() if not isinstance(key, str) or not _is_plain(value)]
    if others:
        raise TrainerError(
            'unreadable_file',
            f'{path} holds more than plain tensors by name: {_some(others)}. Save the tensors alone: torch.save(model.state_dict(), path).',
        )
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = plain_name(_without_prefixes(key))
        if name in found:
            raise TrainerError('unreadable_file', f'{path} holds {name} twice, with and without a prefix such as {_PREFIXES[0]}')
        found[name] = value
    return found


def heads_of(path: Path, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Neck [D, channels] and classifier [classes, D] of a whole model, as far as they are there: by them its network is built.

    Raises:
        TrainerError: `unreadable_file` when they claim more bytes than the file has, of which so much would be allocated.
    """
    heads = {key: found[key] for key in ('fcneck.weight', 'classifier.weight') if key in found and found[key].ndim == 2}
    claimed = sum(head.numel() * head.element_size() for head in heads.values())
    if claimed > path.stat().st_size:
        raise TrainerError('unreadable_file', f'{path} says that it holds {claimed} bytes of head and neck, and is smaller than that.')
    return heads


def _unwrapped(content: Any) -> Any:
    """What lies in the wrappers. A tensor of that name is no wrapper."""
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    return content


def _without_prefixes(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.split('.', 1)[1]
    return key


def _is_plain(value: object) -> bool:
    """A dense tensor of numbers that are there: not sparse, not quantised, not on the device `meta`."""
    if not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and value.device.type == 'cpu' and not value.is_quantized and not value.is_complex()


def _read_plain(path: Path) -> Any:
    try:
        with path.open('rb') as file:
            first = file.read(2)
    except OSError as error:
        raise of_os_error(error, f'reading {path}') from error
    if not first:
        raise TrainerError('unreadable_file', f'{path} is empty.')
    try:
        # Files from before PyTorch 1.6, as some published weights are, are no zip archives and cannot be mapped.
        return torch.load(path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch lets many kinds through, by what is wrong where
        forbidden = _FORBIDDEN_GLOBAL.search(str(error))
        if forbidden:
            raise TrainerError(
                'unsafe_file', f'{path} wants to call {forbidden[1]} when it is read; a file of tensors needs nothing of the kind.'
            ) from error
        if first[:1] == b'\x80' and first[1:] > b'\x02':
            _refuse_calls(path)
        what = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise TrainerError('unreadable_file', f'{path} is no whole file of torch.save: {what[0][:300]}') from error


def _refuse_calls(path: Path) -> None:
    """Tells what a plain pickle would call: torch reads none of its newer protocols, and so names nothing."""
    try:
        read_pickle(path)
    except TrainerError as error:
        if error.code == 'unsafe_file':
            raise


def _some(names: list[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')

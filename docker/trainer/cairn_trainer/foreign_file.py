"""Files of tensors, Cairn's own or imported: read without running any code in them. Errors name forbidden content.

All weights are read here: the check of an import, the start of a stage, the export.
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
from cairn_trainer.errors import TrainerError, from_os_error
from cairn_trainer.foreign_pickle import named, read_pickle
from cairn_trainer.foreign_text import plain_name

_FORBIDDEN_GLOBAL = re.compile(r'GLOBAL ([\w.]+)')
_WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net', 'network')
"""Keys under which training programs store the tensors, next to an epoch, an optimizer and so on; Cairn uses `model`. They may be
nested."""
_PREFIXES = ('module.', '_orig_mod.')
"""The prefixes of DistributedDataParallel and torch.compile."""
_MAX_TENSORS = 100_000
_MAX_WRAPPERS = 4
"""Nesting depth; a pickle may contain a dict that contains itself."""


def read_stored_tensors(stored: StoredFile) -> dict[str, Tensor]:
    """`read_named_tensors` of a file with a recorded sha256.

    Raises:
        TrainerError: `corrupt_artifact` if the sha256 differs; those of `read_named_tensors`.
    """
    verify(stored)
    return read_named_tensors(Path(stored.path))


def read_named_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name in a file written by torch.save: without wrappers and without the prefixes of a wrapped network.

    Raises:
        TrainerError: `missing_file`; `unsafe_file` if its pickle requests more than tensors and plain values; `unreadable_file` if it
            is truncated, has another format, or has no named tensors.
    """
    state = _unwrapped(_read_plain(path))
    if not isinstance(state, Mapping):
        raise TrainerError('unreadable_file', f'{path} contains a {type(state).__name__}, not named tensors.')
    if not state:
        raise TrainerError('unreadable_file', f'{path} contains no named tensors.')
    if len(state) > _MAX_TENSORS:
        raise TrainerError('unreadable_file', f'{path} contains {len(state)} named values; the maximum is {_MAX_TENSORS}.')
    others = [named(key) for key, value in state.items() if not isinstance(key, str) or not _is_plain(value)]
    if others:
        raise TrainerError(
            'unreadable_file',
            f'{path} contains more than named tensors: {_some(others)}. Save only the tensors: torch.save(model.state_dict(), path).',
        )
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = plain_name(_without_prefixes(key))
        if name in found:
            raise TrainerError('unreadable_file', f'{path} contains {name} twice, with and without a prefix such as {_PREFIXES[0]}')
        found[name] = value
    return found


def heads_of(path: Path, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Neck [D, channels] and classifier [classes, D] of a whole model, if present: its network is built from their shapes.

    Raises:
        TrainerError: `unreadable_file` if they claim more bytes than the file has, which would all be allocated.
    """
    heads = {key: found[key] for key in ('fcneck.weight', 'classifier.weight') if key in found and found[key].ndim == 2}
    claimed = sum(head.numel() * head.element_size() for head in heads.values())
    if claimed > path.stat().st_size:
        raise TrainerError('unreadable_file', f'{path} claims {claimed} bytes for head and neck, but is smaller than that.')
    return heads


def _unwrapped(content: Any) -> Any:
    """The content of the wrappers. A tensor with a wrapper's name is not a wrapper."""
    for _ in range(_MAX_WRAPPERS):
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
    """A dense tensor with data: not sparse, not quantised, not on the device `meta`."""
    if not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and value.device.type == 'cpu' and not value.is_quantized and not value.is_complex()


def _read_plain(path: Path) -> Any:
    try:
        with path.open('rb') as file:
            first = file.read(2)
    except OSError as error:
        raise from_os_error(error, f'reading {path}') from error
    if not first:
        raise TrainerError('unreadable_file', f'{path} is empty.')
    try:
        # Files from before PyTorch 1.6, including some published weights, are not zip archives and cannot be mapped.
        return torch.load(path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises many types of exceptions, depending on the fault
        forbidden = _FORBIDDEN_GLOBAL.search(str(error))
        if forbidden:
            raise TrainerError(
                'unsafe_file', f'{path} would call {forbidden[1]} when it is loaded, which a file of tensors does not need.'
            ) from error
        if first[:1] == b'\x80' and first[1:] > b'\x02':
            _refuse_calls(path)
        what = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise TrainerError('unreadable_file', f'{path} is not a complete file of torch.save: {what[0][:300]}') from error


def _refuse_calls(path: Path) -> None:
    """Finds what a plain pickle would call: torch does not read newer pickle protocols, so its error names nothing."""
    try:
        read_pickle(path)
    except TrainerError as error:
        if error.code == 'unsafe_file':
            raise


def _some(names: list[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')

"""Files of tensors, Cairn's own or imported: read without running any code in them. Errors name forbidden content.

All weights are read here: the check of an import, the start of a stage, the export.
"""

from __future__ import annotations

import mmap
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from cairn_trainer.checkpoint import verify
from cairn_trainer.config import StoredFile
from cairn_trainer.errors import TrainerError, from_os_error
from cairn_trainer.foreign_pickle import RefusedError, named, read_pickle, too_much_memory
from cairn_trainer.foreign_text import plain_name
from cairn_trainer.limited_file import open_limited

_FORBIDDEN_GLOBAL = re.compile(r'GLOBAL ([\w.]+)')
_WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net', 'network')
"""Keys under which training programs store the tensors, next to an epoch, an optimizer and so on; Cairn uses `model`. They may be
nested. They are preferred to others, such as `state_dict_ema`."""
_WRAPPED = re.compile(r'(?:module\.|_orig_mod\.)+')
"""The prefixes of DistributedDataParallel and torch.compile."""
_OF_ALL = re.compile(r'(?:model|net|network)\.')
"""The prefixes of trainers that hold the network as an attribute, such as Lightning: all tensors have it, or none."""
_MAX_TENSORS = 100_000
_MAX_WRAPPERS = 4
"""Nesting depth; a pickle may contain a dict that contains itself."""
_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)
_DTYPES += (torch.uint8, torch.bool)
_MAX_HEADER = 2**24
"""Bytes of the header of a safetensors file: 160 for each of the most tensors."""
_MAX_PICKLE = 2**24
"""Bytes of the pickle in an archive, which names the tensors; that of the largest backbone with its optimizer has 2 MB."""
_OTHER_MEMORY = 2**29
"""Bytes that reading a file other than an archive may take beside twice its size."""
_BYTEARRAY = re.compile(rb'c(?:builtins|__builtin__)\nbytearray\n')
"""The only name that torch allows of which a few bytes fill the memory."""


class _Ignored:
    """Replaces a value that training programs store next to the tensors: options, numbers of numpy, paths."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


_STORED_NEXT_TO_TENSORS = (
    'argparse.Namespace',
    'pathlib.PosixPath',
    'pathlib._local.PosixPath',
    'numpy.dtype',
    'numpy.ndarray',
    *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core') for name in ('scalar', '_reconstruct')),
)


def read_stored_tensors(stored: StoredFile) -> dict[str, Tensor]:
    """`read_named_tensors` of a file with a recorded sha256.

    Raises:
        TrainerError: `corrupt_artifact` if the sha256 differs; those of `read_named_tensors`.
    """
    verify(stored)
    return read_named_tensors(Path(stored.path))


def read_named_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name in a file of torch.save or safetensors: without wrappers and without the prefixes of a wrapped network.

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
    is_held = all(_OF_ALL.match(_without_wrapping(key)) for key in state)
    for key, value in state.items():
        inner = _without_wrapping(key)
        name = plain_name(_without_wrapping(_OF_ALL.sub('', inner, count=1)) if is_held else inner)
        if name in found:
            raise TrainerError('unreadable_file', f'{path} contains {name} twice, with and without a prefix such as module.')
        # Without what a file may have attached to the tensor.
        found[name] = Tensor.detach(value)
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
            # Under any other name, if there is only one.
            others = [value for value in content.values() if _has_tensors(value)]
            if len(others) != 1 or _has_tensors(content):
                break
            inner = others[0]
        content = inner
    return content


def _has_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())


def _without_wrapping(key: str) -> str:
    return _WRAPPED.sub('', key, count=1) if _WRAPPED.match(key) else key


def _is_plain(value: object) -> bool:
    """A dense tensor of numbers with data: not sparse, not quantised, not complex, not on the device `meta`."""
    if not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and value.device.type == 'cpu' and value.dtype in _DTYPES


def _read_plain(path: Path) -> Any:
    try:
        with path.open('rb') as file:
            first = file.read(9)
        size = path.stat().st_size
    except OSError as error:
        raise from_os_error(error, f'reading {path}') from error
    if not first:
        raise TrainerError('unreadable_file', f'{path} is empty.')
    try:
        return _read_safetensors(path, first) if first[8:] == b'{' else _read_torch_file(path, size)
    except MemoryError as error:
        raise too_much_memory(path) from error
    except RefusedError as error:
        raise TrainerError('unsafe_file', f'{path} would call {error}, which a file of tensors does not need.') from error
    except Exception as error:  # torch raises many types of exceptions, depending on the fault
        forbidden = _FORBIDDEN_GLOBAL.search(str(error))
        if forbidden:
            raise TrainerError(
                'unsafe_file', f'{path} would call {forbidden[1]} when it is loaded, which a file of tensors does not need.'
            ) from error
        if first[:1] == b'\x80' and first[1:2] > b'\x02':
            _refuse_calls(path)
        what = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise TrainerError('unreadable_file', f'{path} is not a complete file of torch.save or safetensors: {what[0][:300]}') from error


def _read_torch_file(path: Path, size: int) -> Any:
    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        _require_plain_archive(path)
    elif size > 0:
        with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _refuse_bytearrays(content)
    ignored = [(_Ignored, name) for name in _STORED_NEXT_TO_TENSORS]
    with torch.serialization.safe_globals(ignored), open_limited(path, 2 * size + _OTHER_MEMORY) as file:
        # Files from before PyTorch 1.6, including some published weights, are not zip archives and cannot be mapped.
        return torch.load(path if is_archive else file, map_location='cpu', weights_only=True, mmap=is_archive)


def _require_plain_archive(path: Path) -> None:
    """As torch.save writes it: not compressed, so that nothing grows when it is read, and with a pickle of a limited size.

    Raises:
        ValueError: it is another archive.
        RefusedError: its pickle would fill the memory.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f'{named(entry.filename)} in it is compressed')
            if entry.filename.endswith('.pkl'):
                if entry.file_size > _MAX_PICKLE:
                    raise ValueError(f'{named(entry.filename)} in it has {entry.file_size} bytes, more than {_MAX_PICKLE}')
                _refuse_bytearrays(archive.read(entry))


def _refuse_bytearrays(content: bytes | mmap.mmap) -> None:
    if _BYTEARRAY.search(content):
        raise RefusedError('builtins.bytearray')


def _read_safetensors(path: Path, first: bytes) -> dict[str, Tensor]:
    header = int.from_bytes(first[:8], 'little')
    if header > _MAX_HEADER:
        raise ValueError(f'its header has {header} bytes, more than {_MAX_HEADER}')
    return safetensors.torch.load_file(path)


def _refuse_calls(path: Path) -> None:
    """Finds what a plain pickle would call: torch does not read newer pickle protocols, so its error names nothing."""
    try:
        read_pickle(path)
    except TrainerError as error:
        if error.code == 'unsafe_file':
            raise


def _some(names: list[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')

"""Which GPUs this build of torch can use."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence

import torch

from cairn_trainer.errors import TrainerError

_MIN_FOR_BF16 = (8, 0)

Capability = tuple[int, int]


def check_gpu(device: torch.device, precision: str) -> None:
    """Rejects a CUDA device that torch or the precision cannot use.

    Raises:
        TrainerError: `invalid_configuration`, naming the GPU.
    """
    capability = torch.cuda.get_device_capability(device)
    why = why_unsupported(torch.cuda.get_device_name(device), capability, torch.cuda.get_arch_list(), precision)
    if why is not None:
        raise TrainerError('invalid_configuration', why)


def why_unsupported(name: str, capability: Capability, architectures: Sequence[str], precision: str) -> str | None:
    """Why a torch built for `architectures` (`sm_80`, `compute_90`) cannot use a GPU; None if it can."""
    built = [(kind, (int(major), int(minor))) for kind, major, minor in re.findall(r'(sm|compute)_(\d+)(\d)', ' '.join(architectures))]
    # Machine code (sm) runs on later chips of its generation, intermediate code (compute) on all later chips.
    is_built = any(at <= capability and (kind == 'compute' or at[0] == capability[0]) for kind, at in built)
    if not is_built:
        versions = ', '.join(sorted({_text(at) for _, at in built}, key=float)) or 'none'
        return (
            f'The GPU {name} has compute capability {_text(capability)}; torch {torch.__version__} is built for {versions}. '
            'Use another GPU, or an image whose torch is built for this one.'
        )
    if precision == 'bf16' and capability < _MIN_FOR_BF16:
        return f'The GPU {name} has compute capability {_text(capability)}; precision bf16 needs {_text(_MIN_FOR_BF16)}. Use fp16.'
    return None


def _text(capability: Capability) -> str:
    return f'{capability[0]}.{capability[1]}'


# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 1024 * 1024
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Configures the C library not to return freed memory to the kernel; returns False if it is not glibc.

    Each optimizer step allocates what the previous one freed. Without this large tensors get new pages each time, which the kernel
    fills with zeros: 10 % or more of the CPU time of a rank that trains on a CPU.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)

"""The ranks of one stage and their communication: sums of a few numbers, small objects, bytes."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


class PeerLostError(Exception):
    """A collective call failed, usually because another rank is gone; the cause is kept.

    The rank that ended first reports why, or the launcher if it could not.
    """


@contextlib.contextmanager
def meeting() -> Iterator[None]:
    """Wraps every collective call and every pass of several ranks: failures there may be caused by the end of another rank."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # certainly this rank's own error
    except RuntimeError as error:
        raise PeerLostError(str(error)) from error


class Ranks:
    """This process's place among the ranks. Control messages are CPU tensors over gloo, even if gradients use NCCL."""

    def __init__(self) -> None:
        """Reads torchrun's variables; without them this is the only rank."""
        self.rank = int(os.environ.get('RANK', '0'))
        self.world = int(os.environ.get('WORLD_SIZE', '1'))
        self.local_rank = int(os.environ.get('LOCAL_RANK', '0'))
        self.local_world = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
        self.device = torch.device('cuda', self.local_rank) if torch.cuda.is_available() else torch.device('cpu')

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == 'cuda' else 'cpu'

    def join(self, rendezvous: Path | None) -> None:
        """Joins the other ranks, through a file on this machine or with torchrun's variables; a no-op for a single rank."""
        if self.device.type == 'cuda':
            torch.cuda.set_device(self.device)
        if self.world == 1:
            return
        if self.local_world == self.world:
            # On one machine: otherwise gloo resolves the machine's name, which can take seconds if no name server responds.
            loopback = next((name for _, name in socket.if_nameindex() if name in ('lo', 'lo0')), None)
            if loopback is not None:
                os.environ.setdefault('GLOO_SOCKET_IFNAME', loopback)
        backend = 'cpu:gloo,cuda:nccl' if self.device.type == 'cuda' else 'gloo'
        with meeting():
            store = dist.FileStore(str(rendezvous), self.world) if rendezvous is not None else None
            dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world)

    def leave(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()

    def barrier(self) -> None:
        self.sum([0.0])

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over the ranks."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        with meeting():
            dist.all_reduce(tensor)
        return tensor.tolist()

    def begin_sum(self, values: Tensor) -> Callable[[], None]:
        """Starts summing a device tensor over the ranks, in place; the returned function waits for it (on a GPU it makes the GPU wait)."""
        if self.world == 1:
            return lambda: None
        with meeting():
            work = dist.all_reduce(values, async_op=True)
        assert work is not None

        def wait() -> None:
            with meeting():
                work.wait()

        return wait

    def any(self, value: bool) -> bool:
        """True if it is true on any rank."""
        return self.sum([float(value)])[0] > 0

    def largest(self, values: Tensor) -> Tensor:
        """The element-wise maximum over the ranks of a CPU tensor, in place."""
        if self.world > 1:
            with meeting():
                dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Each rank's object, on every rank."""
        if self.world == 1:
            return [value]
        gathered: list[Any] = [None] * self.world
        with meeting():
            dist.all_gather_object(gathered, value)
        return gathered

    def gather_rows(self, rows: Tensor) -> list[Tensor]:
        """Each rank's tensor, on every rank. All are CPU tensors of one shape and type."""
        if self.world == 1:
            return [rows]
        gathered = [torch.empty_like(rows) for _ in range(self.world)]
        with meeting():
            dist.all_gather(gathered, rows)
        return gathered

    def from_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites each tensor with that of rank 0."""
        if self.world > 1:
            with meeting():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

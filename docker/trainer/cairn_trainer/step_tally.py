"""What the ranks tell each other of a step: summed on the device beside the gradients, and read when the step is long over."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cairn_trainer.ranks import Ranks


class Told(NamedTuple):
    """What one rank has to say of its part of a step; numbers, so that they can be summed."""

    stops: float
    """1 when this rank was asked to stop."""
    is_time_over: float
    """1 when a checkpoint is due by the clock."""
    empty: float
    """1 when a batch had no readable image, so that another stood in for it."""
    bad: float
    """How many unreadable images were met."""
    waited: float
    """Seconds that it waited for its images."""


class StepSums(NamedTuple):
    """The sums over the ranks, and over the batches of the step; `scale` is the loss scale after it."""

    told: Told
    loss: float
    correct: float
    scale: float


class StepTally:
    """The sums of one step. Every method is called by all ranks at the same point. Only `read` waits for a GPU."""

    def __init__(self, ranks: Ranks, told: Told, loss: Tensor, correct: Tensor) -> None:
        """Begins the sum. `loss` and `correct` are scalars on the device."""
        self._is_cuda = ranks.device.type == 'cuda'
        own = torch.tensor(told, dtype=torch.float64)
        if self._is_cuda:
            own = own.pin_memory().to(ranks.device, non_blocking=True)
        self._sums = torch.cat([own, torch.stack([loss.double(), correct.double()])])
        self._wait = ranks.begin_sum(self._sums)
        self._ready: torch.cuda.Event | None = None

    def finish(self, scale: Tensor) -> None:
        """After the optimizer's step: begins to bring the sums to the host, with the scale that the step left."""
        self._wait()
        sums = torch.cat([self._sums, scale.double().reshape(1)])
        if self._is_cuda:
            self._sums = torch.empty(sums.shape, dtype=sums.dtype, pin_memory=True).copy_(sums, non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record()
        else:
            self._sums = sums

    def read(self) -> StepSums:
        """Waits for the step to be over on the device."""
        if self._ready is not None:
            self._ready.synchronize()
        *told, loss, correct, scale = self._sums.tolist()
        return StepSums(Told(*told), loss, correct, scale)
